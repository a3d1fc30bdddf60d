"""Identical requests that are in flight at the same time are computed once.

The first one asks the engine within its own task; those that come meanwhile wait for its answer. When the first one is
given up (its client left, its deadline passed), the next in line asks in its place.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from errors import RequestError
from gateway.hooks import EngineResponse, PredictionRequest, Predictor
from gateway.metrics import Metrics
from settings.schema import CacheSettings

# A body up to here stands for itself: hashing it would cost more than comparing it. Longer than what stands for others.
SHORT = 256
_PIECE = 64


@dataclass(frozen=True, slots=True)
class Key:
    """What a request asks, in a few bytes."""

    model: str
    version: str | None
    content_type: str
    content: bytes


def is_drawn(request: PredictionRequest) -> bool:
    """Whether a policy may have been asked to draw its action, so that the same request has another answer each time.

    Where the word stands anywhere, or an escape that could spell it, it is taken for asked.
    """
    return request.kind == "policy" and (b"deterministic" in request.body or b"\\u" in request.body)


def key_of(request: PredictionRequest) -> Key:
    """A key that no other body has: BLAKE2b, 128 bits. It costs a look at every byte."""
    body = request.body
    return _key(request, body if len(body) <= SHORT else hashlib.blake2b(body, digest_size=16).digest())


def sketch_of(request: PredictionRequest) -> Key:
    """A key that another body may have by chance: its length and pieces of it. Whoever uses it compares the bodies."""
    body = request.body
    if len(body) <= SHORT:
        return _key(request, body)
    middle = len(body) // 2
    pieces = (body[:_PIECE], body[middle : middle + _PIECE], body[-_PIECE:])
    return _key(request, b"".join((len(body).to_bytes(8, "big"), *pieces)))


def _key(request: PredictionRequest, content: bytes) -> Key:
    return Key(request.model, request.version, request.content_type, content)


# None tells a follower that the request it waited for was given up.
_Follower = asyncio.Future[EngineResponse | None]


@dataclass(slots=True)
class _Flight:
    """One body on its way, and who waits for the answer to the same one."""

    body: bytes
    followers: list[_Follower] = field(default_factory=list)


class Deduplicator:
    """Lets a request wait for the answer to the same one that came before it."""

    def __init__(self, engine: Predictor, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._flights: dict[Key, _Flight] = {}

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """The engine's answer, asked for once however many wait for it."""
        if is_drawn(request):
            return await self._engine.predict(request)
        key = sketch_of(request)
        while (flight := self._flights.get(key)) is not None:
            if flight.body != request.body:
                return await self._engine.predict(request)
            answer = await _landing(flight)
            if answer is not None:
                self._metrics.joined(request.model)
                return answer
        return await self._fly(key, request)

    async def _fly(self, key: Key, request: PredictionRequest) -> EngineResponse:
        flight = self._flights[key] = _Flight(request.body)
        try:
            answer = await self._engine.predict(request)
        except RequestError as error:
            self._land(key, flight, error=error)
            raise
        except BaseException:
            # Cancelled, or broken by something unforeseen: that is this request's own, the others try for themselves.
            self._land(key, flight)
            raise
        self._land(key, flight, answer)
        return answer

    def _land(
        self,
        key: Key,
        flight: _Flight,
        answer: EngineResponse | None = None,
        error: RequestError | None = None,
    ) -> None:
        del self._flights[key]
        # An error's traceback leads to the flight; what the flight leads to must not lead back to the error.
        followers, flight.followers = flight.followers, []
        for follower in followers:
            if follower.done():
                continue
            if error is not None:
                follower.set_exception(error)
            else:
                follower.set_result(answer)


async def _landing(flight: _Flight) -> EngineResponse | None:
    follower: _Follower = asyncio.get_running_loop().create_future()
    flight.followers.append(follower)
    try:
        return await follower
    finally:
        del follower  # as above: an error that it brings has this frame in its traceback


Mark = Callable[[str, str | None], str | None]
"""Model and version asked for → what changes when another version answers; None when the model is not known."""


class ResponseCache:
    """Answers from memory what was answered before by the very version that would answer now."""

    def __init__(self, engine: Predictor, settings: CacheSettings, mark: Mark, metrics: Metrics) -> None:
        self._engine = engine
        self._settings = settings
        self._mark = mark
        self._metrics = metrics
        self._answers: OrderedDict[Key, tuple[float, EngineResponse]] = OrderedDict()
        self._marks: dict[tuple[str, str | None], str | None] = {}

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """The kept answer, or the engine's, which is kept then."""
        if is_drawn(request):
            return await self._engine.predict(request)
        clock = asyncio.get_running_loop().time
        mark = self._current_mark(request)
        key = key_of(request)
        kept = self._answers.get(key)
        if kept is not None and clock() < kept[0]:
            self._answers.move_to_end(key)
            self._metrics.cache(request.model, hit=True)
            return kept[1]
        self._metrics.cache(request.model, hit=False)
        answer = await self._engine.predict(request)
        # What was asked of one version and answered while another took over is not kept.
        if mark is not None and mark == self._current_mark(request):
            self._answers[key] = (clock() + self._settings.ttl_s, answer)
            self._answers.move_to_end(key)
            while len(self._answers) > self._settings.max_entries:
                self._answers.popitem(last=False)
        return answer

    def _current_mark(self, request: PredictionRequest) -> str | None:
        """The mark of who answers now; a change of it empties the cache of this model."""
        place = (request.model, request.version)
        mark = self._mark(*place)
        if self._marks.get(place, mark) != mark:
            for key in [key for key in self._answers if key.model == request.model]:
                del self._answers[key]
        self._marks[place] = mark
        return mark
