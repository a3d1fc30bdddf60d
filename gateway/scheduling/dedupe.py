"""Requests with the same content: those in flight at the same time share one response, and a cache keeps responses.

Two requests have the same content when model, version, content type and body are the same.
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

# A body up to here is its own key: hashing it would cost more than comparing it. Longer than the key of any other.
SHORT = 256
_PIECE = 64

# None means that the request which the follower waited for was given up.
_Follower = asyncio.Future[EngineResponse | None]

ArchiveMark = Callable[[str, str | None], str | None]
"""Model and version → a text that changes when another archive answers; None when the model is not known."""


@dataclass(frozen=True, slots=True)
class ContentKey:
    """The content of a request in a few bytes."""

    model: str
    version: str | None
    content_type: str
    content: bytes


def is_sampled(request: PredictionRequest) -> bool:
    """Return True when the same request may get another response each time.

    A policy may sample its action: a body that has the option's name anywhere, or an escape that could spell it, counts
    as such. The handler of an adopted archive may do anything, and read headers that are not compared here. An
    explanation has the same body as a prediction.
    """
    if request.kind == "adopted" or request.explain:
        return True
    return request.kind == "policy" and (b"deterministic" in request.body or b"\\u" in request.body)


def exact_key(request: PredictionRequest) -> ContentKey:
    """Return a key that no other body has: BLAKE2b, 128 bits. It reads every byte."""
    body = request.body
    return _key(request, body if len(body) <= SHORT else hashlib.blake2b(body, digest_size=16).digest())


def quick_key(request: PredictionRequest) -> ContentKey:
    """Return a key that another body may have by chance: its length and pieces of it. Its users compare the bodies."""
    body = request.body
    if len(body) <= SHORT:
        return _key(request, body)
    middle = len(body) // 2
    pieces = (body[:_PIECE], body[middle : middle + _PIECE], body[-_PIECE:])
    return _key(request, b"".join((len(body).to_bytes(8, "big"), *pieces)))


def _key(request: PredictionRequest, content: bytes) -> ContentKey:
    return ContentKey(request.model, request.version, request.content_type, content)


@dataclass(slots=True)
class _InFlight:
    """One body that the engine works on, and the requests that wait for the same response."""

    body: bytes
    followers: list[_Follower] = field(default_factory=list)


class Deduplicator:
    """Computes identical requests that are in flight at the same time once.

    The first one calls the engine in its own task; those that arrive meanwhile wait for its response. When the first
    one is given up, because its client left or its deadline passed, the next one calls the engine instead.
    """

    def __init__(self, engine: Predictor, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._in_flight: dict[ContentKey, _InFlight] = {}

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """Return the engine's response, computed once however many wait for it."""
        if is_sampled(request):
            return await self._engine.predict(request)
        key = quick_key(request)
        while (leading := self._in_flight.get(key)) is not None:
            if leading.body != request.body:
                return await self._engine.predict(request)
            shared = await _shared(leading)
            if shared is not None:
                self._metrics.joined(request.model)
                return shared
        leading = self._in_flight[key] = _InFlight(request.body)
        try:
            response = await self._engine.predict(request)
        except RequestError as error:
            self._finish(key, leading, error=error)
            raise
        except BaseException:
            # Cancelled, or failed unexpectedly: only this request fails, and the others try again themselves.
            self._finish(key, leading)
            raise
        self._finish(key, leading, response)
        return response

    def _finish(
        self,
        key: ContentKey,
        leading: _InFlight,
        response: EngineResponse | None = None,
        error: RequestError | None = None,
    ) -> None:
        del self._in_flight[key]
        # An error's traceback leads to `leading`; what that leads to must not lead back to the error.
        followers, leading.followers = leading.followers, []
        for follower in followers:
            if follower.done():
                continue
            if error is not None:
                follower.set_exception(error)
            else:
                follower.set_result(response)


async def _shared(leading: _InFlight) -> EngineResponse | None:
    follower: _Follower = asyncio.get_running_loop().create_future()
    leading.followers.append(follower)
    try:
        return await follower
    finally:
        del follower  # as above: an error that it brings has this frame in its traceback


class ResponseCache:
    """Keeps responses by the content of their requests: bounded, least recently used first out, with a time to live.

    It returns a response only if the archive that made it is the one that would answer now.
    """

    def __init__(self, engine: Predictor, settings: CacheSettings, mark: ArchiveMark, metrics: Metrics) -> None:
        self._engine = engine
        self._settings = settings
        self._mark = mark
        self._metrics = metrics
        self._responses: OrderedDict[ContentKey, tuple[float, EngineResponse]] = OrderedDict()
        self._marks: dict[tuple[str, str | None], str | None] = {}

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """Return the kept response, or the engine's, and keep that."""
        if is_sampled(request):
            return await self._engine.predict(request)
        clock = asyncio.get_running_loop().time
        mark = self._current_mark(request)
        key = exact_key(request)
        kept = self._responses.get(key)
        if kept is not None and clock() < kept[0]:
            self._responses.move_to_end(key)
            self._metrics.cache(request.model, hit=True)
            return kept[1]
        self._metrics.cache(request.model, hit=False)
        response = await self._engine.predict(request)
        # A response that was computed while another version took over is not kept.
        if mark is not None and mark == self._current_mark(request):
            self._responses[key] = (clock() + self._settings.ttl_s, response)
            self._responses.move_to_end(key)
            while len(self._responses) > self._settings.max_entries:
                self._responses.popitem(last=False)
        return response

    def _current_mark(self, request: PredictionRequest) -> str | None:
        """Return the mark of the archive that answers now; empty the cache of this model when it has changed."""
        version = (request.model, request.version)
        mark = self._mark(*version)
        if self._marks.get(version, mark) != mark:
            for key in [key for key in self._responses if key.model == request.model]:
                del self._responses[key]
        self._marks[version] = mark
        return mark
