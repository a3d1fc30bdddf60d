"""Concurrent single observations for one policy go to the engine as one request of many.

    requests ──▶ batch of (model, version) ── previous answered, or max_delay_ms ──▶ {"instances": [...]} ──▶ split

The first request is sent at once, so a lone client waits for nobody, and a batch of one is sent unchanged. Only
observations that the model's card accepts beyond any doubt are batched; any other is sent alone, so that an invalid one
affects no other request. When a batch is refused, its members are sent one by one, and each gets its own response.

Logs and traces know a task by its context. Each member's own is kept, because the last one to join sends all of them.
"""

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context, copy_context
from dataclasses import dataclass, replace
from typing import Any

import orjson

from errors import Internal, NoWorker, OverCapacity, RequestError
from gateway.hooks import EngineResponse, PredictionRequest, Predictor
from gateway.metrics import Metrics
from gateway.model_card import ModelCard, kind_of, registration
from gateway.tracing import Tracer
from handlers import request_limits
from logs import log_task_error
from settings.schema import CoalesceSettings

# Types whose bounds and values compare here as they do in the handler. Larger numbers are infinite in 32 bits.
_TYPES = {"float32", "float64"}
_LARGEST = 3.4e38


@dataclass(frozen=True, slots=True)
class ObservationReader:
    """Reads one observation of a policy with a flat space: names of its fields if it has some, bounds of each.

    At most `most` observations go into one request; None leaves that to the gateway's settings. A worker takes no more
    than `limit`.
    """

    names: tuple[str, ...] | None
    bounds: tuple[tuple[float, float], ...]
    most: int | None = None
    limit: int = request_limits.MAX_INSTANCES["policy"]

    def read(self, body: bytes) -> list[float] | None:
        """Return the observation's numbers in order; None for anything but one valid observation."""
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


def reader_for(card: ModelCard) -> ObservationReader | None:
    """Return the reader of a policy's observations; None for other models and for spaces that are not flat."""
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
    return ObservationReader(
        None if names is None else tuple(names),
        tuple(zip(lows, highs, strict=True)),
        most,
        request_limits.of_card(card).max_instances,
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
    """Split a response into one for each of its `count` predictions, as the handler wrote them; None if it cannot.

    Only ASCII is split, as Marina's handlers write it: there a character is a byte.
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


FindReader = Callable[[str, str | None], ObservationReader | None]
"""Model and version → the reader of its observations; None when they are sent alone."""


@dataclass(frozen=True, slots=True)
class _Member:
    """One request in a batch: its observation, the future of its response, and the context that it came in."""

    request: PredictionRequest
    values: list[float]
    response: asyncio.Future[EngineResponse]
    context: Context


class Coalescer:
    """Puts observations into batches and forwards other requests."""

    def __init__(
        self, engine: Predictor, settings: CoalesceSettings, find_reader: FindReader, metrics: Metrics, tracer: Tracer
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._find_reader = find_reader
        self._metrics = metrics
        self._tracer = tracer
        self._batchers: dict[tuple[str, str | None], Batcher] = {}

    def predict(self, request: PredictionRequest) -> Awaitable[EngineResponse]:
        """Return the request's own response, in a batch or alone."""
        values = self.values_of(request)
        if values is None:
            return self._engine.predict(request)
        return self.batcher(request.model, request.version).join(request, values)

    def values_of(self, request: PredictionRequest) -> list[float] | None:
        """Return the observation's numbers; None when it is sent alone."""
        if request.explain:
            return None
        reader = self._find_reader(request.model, request.version)
        return None if reader is None else reader.read(request.body)

    def batcher(self, model: str, version: str | None) -> "Batcher":
        """Return the batches that requests for this version of a model join."""
        key = (model, version)
        batcher = self._batchers.get(key)
        if batcher is None:
            batcher = self._batchers[key] = Batcher(self._engine, self._settings, self._metrics, self._tracer)
        # A rollout may change the reader at any time.
        batcher.size = self._batch_size(self._find_reader(model, version))
        return batcher

    def _batch_size(self, reader: ObservationReader | None) -> int:
        if reader is None:
            return self._settings.max_batch
        return min(reader.most or self._settings.max_batch, reader.limit)


class Batcher:
    """The batches of one version of one policy: at most one that is open, and those that the engine has."""

    def __init__(self, engine: Predictor, settings: CoalesceSettings, metrics: Metrics, tracer: Tracer) -> None:
        self._engine = engine
        self._settings = settings
        self._metrics = metrics
        self._tracer = tracer
        self.size = settings.max_batch
        self._open: list[_Member] = []
        self._is_sending = False  # True while the open batch's task exists and has not begun
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def join(self, request: PredictionRequest, values: list[float]) -> asyncio.Future[EngineResponse]:
        """Add a request with these numbers to the open batch; the future is its response."""
        response: asyncio.Future[EngineResponse] = asyncio.get_running_loop().create_future()
        self._open.append(_Member(request, values, response, copy_context()))
        if len(self._open) >= self.size:
            self._close()
        elif not self._is_sending and self._timer is None:
            if self._tasks:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self._settings.max_delay_ms / 1000, self._close)
            else:
                # The task begins after the event loop has handled what it has already read from other clients.
                self._is_sending = True
                self._track(asyncio.create_task(self._send(self._open), context=self._open[0].context.copy()))
        return response

    def _close(self) -> None:
        """Close the open batch; no further request joins it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._open = self._open, []
        if not self._is_sending:
            self._track(asyncio.create_task(self._send(batch), context=batch[0].context.copy()))
        self._is_sending = False

    def _track(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        log_task_error(task)
        if self._open and not self._is_sending:
            self._close()

    async def _send(self, batch: list[_Member]) -> None:
        members = self._members_of(batch)
        if not members:
            return
        try:
            self._metrics.coalesced(members[0].request.model, len(members))
            if len(members) == 1:
                _cancel_with(members[0].response)
            with self._span(members):
                response = await self._engine.predict(_merged(members))
            _answer(members, response)
        except (NoWorker, OverCapacity) as error:
            _fail(members, error)
        except RequestError as error:
            if len(members) == 1:
                _fail(members, error)
            else:
                await self._send_one_by_one(members)
        finally:
            # The log gets an unexpected error; members that still wait must not wait for ever.
            _fail(members, None)

    def _members_of(self, batch: list[_Member]) -> list[_Member]:
        """Close this batch, if it is the open one, and return its members that still wait."""
        if batch is self._open:
            self._close()
        members = [member for member in batch if not member.response.done()]
        # The size may have shrunk while they waited: the rest opens the next batch.
        if len(members) > self.size:
            self._open = members[self.size :] + self._open
            if self._timer is None:
                self._close()
        return members[: self.size]

    def _span(self, members: Sequence[_Member]) -> AbstractContextManager[None]:
        if len(members) == 1:
            return nullcontext()
        return self._tracer.together([member.context for member in members])

    async def _send_one_by_one(self, members: Sequence[_Member]) -> None:
        await asyncio.gather(*(self._send_alone(member) for member in members if not member.response.done()))

    async def _send_alone(self, member: _Member) -> None:
        task = asyncio.create_task(self._response(member.request), context=member.context)
        # When the member's client leaves, its lone request is cancelled.
        member.response.add_done_callback(lambda _: task.cancel())
        try:
            response = await task
        except asyncio.CancelledError:
            if not member.response.cancelled():
                raise
        except RequestError as error:
            _fail([member], error)
        else:
            if not member.response.done():
                member.response.set_result(response)

    async def _response(self, request: PredictionRequest) -> EngineResponse:
        return await self._engine.predict(request)


def _cancel_with(response: asyncio.Future[EngineResponse]) -> None:
    """Cancel the current task when the one response that it works for is cancelled."""
    task = asyncio.current_task()
    assert task is not None
    response.add_done_callback(lambda _: task.cancel())


def _merged(members: Sequence[_Member]) -> PredictionRequest:
    """Return one request for all members; that of a batch of one is the member's own."""
    first = members[0].request
    if len(members) == 1:
        return first
    return replace(
        first,
        body=orjson.dumps({"instances": [member.values for member in members]}),
        request_id=f"{first.request_id[:100]} +{len(members) - 1}",
        deadline=max(member.request.deadline for member in members),
    )


def _answer(members: Sequence[_Member], response: EngineResponse) -> None:
    bodies = [response.body] if len(members) == 1 else split(response.body, len(members))
    if bodies is None:
        raise Internal("the answer to a request of many cannot be split")
    for member, body in zip(members, bodies, strict=True):
        if not member.response.done():
            member.response.set_result(EngineResponse(body, response.content_type, response.version))


def _fail(members: Sequence[_Member], error: RequestError | None) -> None:
    for member in members:
        if not member.response.done():
            # Its traceback leads to the member, which leads to its response: together they would wait for the
            # garbage collector.
            failure = error or Internal("the request was lost in the gateway")
            member.response.set_exception(failure.with_traceback(None))
