"""Concurrent single observations for one policy travel to the engine as one request of many.

    requests ──▶ lane of (model, version) ── one is back, or max_delay_ms is over ──▶ {"instances": [...]} ──▶ split

The first request of a lane goes at once, so a lone client waits for nobody. A request that nobody joined is sent as it
came. When a request of many is refused, its members are sent one by one, and each gets its own answer.

Logs and traces know a task by its context. A member's own is kept, because whoever joins last sets off them all.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, replace

import orjson

from errors import Internal, NoWorker, OverCapacity, RequestError
from gateway.engine import Engine, EngineAnswer
from gateway.hooks import PredictionRequest
from gateway.metrics import Metrics
from gateway.observation import Reader
from gateway.split import split
from gateway.tracing import Tracer
from logs import log_task_error
from settings.schema import Coalesce

FindReader = Callable[[str, str | None], Reader | None]
"""Model and version → what reads its observations; None when they travel alone."""


@dataclass(frozen=True, slots=True)
class _Member:
    """One request in a lane: its observation, where its answer goes, and the context that it came in."""

    request: PredictionRequest
    values: list[float]
    answer: asyncio.Future[EngineAnswer]
    context: Context


class Coalescer:
    """Sorts requests into lanes; what cannot share a ride goes straight on."""

    def __init__(
        self, engine: Engine, settings: Coalesce, find_reader: FindReader, metrics: Metrics, tracer: Tracer
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._find_reader = find_reader
        self._metrics = metrics
        self._tracer = tracer
        self._lanes: dict[tuple[str, str | None], _Lane] = {}

    async def predict(self, request: PredictionRequest) -> EngineAnswer:
        """The request's own answer, whoever it travelled with."""
        values = self.values_of(request)
        if values is None:
            return await self._engine.predict(request)
        return await self.join(request, values)

    def values_of(self, request: PredictionRequest) -> list[float] | None:
        """The observation's numbers; None when it travels alone."""
        reader = self._find_reader(request.model, request.version)
        return None if reader is None else reader.read(request.body)

    def join(self, request: PredictionRequest, values: list[float]) -> asyncio.Future[EngineAnswer]:
        """Puts a request with these numbers into its lane; its answer comes as it would from `predict`."""
        key = (request.model, request.version)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(self._engine, self._settings, self._metrics, self._tracer)
        reader = self._find_reader(request.model, request.version)
        # A rollout may change it under way, so each that joins brings it along.
        most = (reader.most if reader else None) or self._settings.max_batch
        lane.size = min(most, reader.limit) if reader else most
        member = _Member(request, values, asyncio.get_running_loop().create_future(), copy_context())
        lane.join(member)
        return member.answer


class _Lane:
    """The observations for one version of one policy."""

    def __init__(self, engine: Engine, settings: Coalesce, metrics: Metrics, tracer: Tracer) -> None:
        self._engine = engine
        self._settings = settings
        self._metrics = metrics
        self._tracer = tracer
        self.size = settings.max_batch
        self._waiting: list[_Member] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None

    def join(self, member: _Member) -> None:
        """Takes a member; it leaves with the next ride."""
        self._waiting.append(member)
        if len(self._waiting) >= self.size:
            self._leave()
        elif self._timer is None:
            self._set_timer()

    def _set_timer(self) -> None:
        loop = asyncio.get_running_loop()
        if self._under_way:
            self._timer = loop.call_later(self._settings.max_delay_ms / 1000, self._leave)
        else:
            # At once, but after what the event loop has already read from other clients.
            self._timer = loop.call_soon(self._leave)

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        size = self.size
        members, self._waiting = self._waiting[:size], self._waiting[size:]
        members = [member for member in members if not member.answer.done()]
        if members:
            task = asyncio.create_task(self._ride(members), context=members[0].context.copy())
            self._under_way.add(task)
            task.add_done_callback(self._back)
        if self._waiting:
            self._set_timer()

    def _back(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        log_task_error(task)
        if self._waiting:
            self._leave()

    async def _ride(self, members: list[_Member]) -> None:
        try:
            await self._travel(members)
        finally:
            # Something unforeseen ended the ride, and goes to the log: whoever still waits must not wait for ever.
            for member in members:
                _tell(member, Internal("the request was lost in the gateway"))

    async def _travel(self, members: list[_Member]) -> None:
        self._metrics.coalesced(members[0].request.model, len(members))
        if len(members) == 1:
            await self._alone(members[0])
            return
        try:
            answers = await self._together(members)
        except (NoWorker, OverCapacity) as error:
            for member in members:
                _tell(member, error)
        except RequestError:
            await self._one_by_one(members)
        else:
            for member, answer in zip(members, answers, strict=True):
                if not member.answer.done():
                    member.answer.set_result(answer)

    async def _together(self, members: list[_Member]) -> list[EngineAnswer]:
        first = members[0].request
        many = replace(
            first,
            body=orjson.dumps({"instances": [member.values for member in members]}),
            request_id=f"{first.request_id[:100]} +{len(members) - 1}",
            deadline=max(member.request.deadline for member in members),
        )
        with self._tracer.together([member.context for member in members]):
            answer = await self._engine.predict(many)
        bodies = split(answer.body, len(members))
        if bodies is None:
            raise Internal("the answer to a request of many cannot be split")
        return [EngineAnswer(body, answer.content_type, answer.version) for body in bodies]

    async def _one_by_one(self, members: list[_Member]) -> None:
        await asyncio.gather(*(self._alone(member) for member in members if not member.answer.done()))

    async def _alone(self, member: _Member) -> None:
        work = asyncio.create_task(self._engine_answer(member.request), context=member.context)
        # A member whose client left takes its lone request along.
        member.answer.add_done_callback(lambda _: work.cancel())
        try:
            answer = await work
        except asyncio.CancelledError:
            if not member.answer.cancelled():
                raise
        except RequestError as error:
            _tell(member, error)
        else:
            if not member.answer.done():
                member.answer.set_result(answer)

    async def _engine_answer(self, request: PredictionRequest) -> EngineAnswer:
        return await self._engine.predict(request)


def _tell(member: _Member, error: Exception) -> None:
    if not member.answer.done():
        # Its traceback leads to the member, which leads to its answer: together they would wait for the collector.
        member.answer.set_exception(error.with_traceback(None))
