"""Concurrent single observations for one policy travel to the engine as one request of many.

    requests ──▶ lane of (model, version) ── one is back, or max_delay_ms is over ──▶ {"instances": [...]} ──▶ split

The first request of a lane goes at once, so a lone client waits for nobody. A request that nobody joined is sent as it
came. When a request of many is refused, its members are sent one by one, and each gets its own answer.

Logs and traces know a task by its context. A member's own is kept, because whoever joins last sets off them all.
"""

import asyncio
import json
import math
import re
from collections.abc import Callable, Mapping
from contextvars import Context, copy_context
from dataclasses import dataclass, replace
from typing import Any

import orjson

from errors import Internal, NoWorker, OverCapacity, RequestError
from gateway.hooks import EngineResponse, PredictionRequest, Predictor
from gateway.metrics import Metrics
from gateway.model_card import ModelCard, kind_of, registration
from gateway.tracing import Tracer
from handlers import limits
from logs import log_task_error
from settings.schema import CoalesceSettings

# Types whose bounds and values compare here as they do in the handler. Larger numbers are infinite in 32 bits.
_TYPES = {"float32", "float64"}
_LARGEST = 3.4e38


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads one observation of a policy with a flat space: names of its fields if it has some, bounds of each.

    `most` observations may travel together; None is for the gateway's settings to say. Never more than `limit`, which a
    worker takes in one request.
    """

    names: tuple[str, ...] | None
    bounds: tuple[tuple[float, float], ...]
    most: int | None = None
    limit: int = limits.MAX_INSTANCES["policy"]

    def read(self, body: bytes) -> list[float] | None:
        """The observation's numbers in order; None for whatever is not one good observation."""
        try:
            content = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        if type(content) is dict:
            content = self._in_order(content)
        if type(content) is not list or len(content) != len(self.bounds):
            return None
        for value, (low, high) in zip(content, self.bounds, strict=True):
            kind = type(value)
            if (kind is not float and kind is not int) or not low <= value <= high:
                return None
        return content

    def _in_order(self, content: dict[str, Any]) -> list[Any] | None:
        names = self.names
        if names is None or len(content) != len(names):
            return None
        try:
            return [content[name] for name in names]
        except KeyError:
            return None


def reader_for(card: ModelCard) -> Reader | None:
    """The reader of a policy's observations; None for other models and for spaces that are not flat."""
    observation = card.get("observation")
    most = registration(card).get("coalesce")
    if kind_of(card) != "policy" or not isinstance(observation, Mapping) or most == 1:
        return None
    space = observation.get("space")
    if not isinstance(space, Mapping) or space.get("type") != "box" or space.get("dtype") not in _TYPES:
        return None
    shape = space.get("shape")
    if not isinstance(shape, list) or len(shape) != 1 or not isinstance(shape[0], int):
        return None
    lows, highs = _bounds(space.get("low"), shape[0], -_LARGEST), _bounds(space.get("high"), shape[0], _LARGEST)
    names = observation.get("fields")
    if lows is None or highs is None or (names is not None and len(names) != shape[0]):
        return None
    return Reader(
        None if names is None else tuple(names),
        tuple(zip(lows, highs, strict=True)),
        most,
        limits.of(card).max_instances,
    )


def _bounds(given: Any, count: int, otherwise: float) -> list[float] | None:
    each = given if isinstance(given, list) else [given] * count
    if len(each) != count or any(type(value) not in (int, float, type(None)) for value in each):
        return None
    found = [otherwise if value is None else max(-_LARGEST, min(_LARGEST, float(value))) for value in each]
    return None if any(math.isnan(value) for value in found) else found


_PREDICTIONS = re.compile(r'"predictions"\s*:\s*\[\s*')
_BETWEEN = re.compile(r"\s*,\s*")
_END = re.compile(r"\s*\]")
_decoder = json.JSONDecoder()


def split(body: bytes, count: int) -> list[bytes] | None:
    """The answer's `count` predictions, each between the head and the tail of the whole; None when it has not so many.

    Only ASCII is cut, as the kit's handlers write it: there a character is a byte.
    """
    if not body.isascii():
        return None
    text = body.decode("ascii")
    start = _PREDICTIONS.search(text)
    if start is None:
        return None
    try:
        pieces, end = _pieces(text, start.end(), count)
    except ValueError:
        return None
    if pieces is None:
        return None
    head, tail = body[: start.end()], body[end:]
    return [head + piece.encode("ascii") + tail for piece in pieces]


def _pieces(text: str, position: int, count: int) -> tuple[list[str] | None, int]:
    pieces: list[str] = []
    while True:
        _, end = _decoder.raw_decode(text, position)
        pieces.append(text[position:end])
        between = _BETWEEN.match(text, end)
        if between is None:
            break
        position = between.end()
    return (pieces if len(pieces) == count and _END.match(text, end) else None), end


FindReader = Callable[[str, str | None], Reader | None]
"""Model and version → what reads its observations; None when they travel alone."""


@dataclass(frozen=True, slots=True)
class _Member:
    """One request in a lane: its observation, where its answer goes, and the context that it came in."""

    request: PredictionRequest
    values: list[float]
    answer: asyncio.Future[EngineResponse]
    context: Context


class Coalescer:
    """Sorts requests into lanes; what cannot share a ride goes straight on."""

    def __init__(
        self, engine: Predictor, settings: CoalesceSettings, find_reader: FindReader, metrics: Metrics, tracer: Tracer
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._find_reader = find_reader
        self._metrics = metrics
        self._tracer = tracer
        self._lanes: dict[tuple[str, str | None], _Lane] = {}

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """The request's own answer, whoever it travelled with."""
        values = self.values_of(request)
        if values is None:
            return await self._engine.predict(request)
        return await self.join(request, values)

    def values_of(self, request: PredictionRequest) -> list[float] | None:
        """The observation's numbers; None when it travels alone."""
        reader = self._find_reader(request.model, request.version)
        return None if reader is None else reader.read(request.body)

    def join(self, request: PredictionRequest, values: list[float]) -> asyncio.Future[EngineResponse]:
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

    def __init__(self, engine: Predictor, settings: CoalesceSettings, metrics: Metrics, tracer: Tracer) -> None:
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

    async def _together(self, members: list[_Member]) -> list[EngineResponse]:
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
        return [EngineResponse(body, answer.content_type, answer.version) for body in bodies]

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

    async def _engine_answer(self, request: PredictionRequest) -> EngineResponse:
        return await self._engine.predict(request)


def _tell(member: _Member, error: Exception) -> None:
    if not member.answer.done():
        # Its traceback leads to the member, which leads to its answer: together they would wait for the collector.
        member.answer.set_exception(error.with_traceback(None))
