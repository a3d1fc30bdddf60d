"""Identical requests that are in flight at the same time are computed once.

The first one asks the engine within its own task; those that come meanwhile wait for its answer. When the first one is
given up (its client left, its deadline passed), the next in line asks in its place.
"""

import asyncio
from dataclasses import dataclass, field

from errors import RequestError
from gateway.content import Key, is_drawn, sketch_of
from gateway.engine import Engine, EngineAnswer
from gateway.hooks import PredictionRequest
from gateway.metrics import Metrics

# None tells a follower that the request it waited for was given up.
_Follower = asyncio.Future[EngineAnswer | None]


@dataclass(slots=True)
class _Flight:
    """One body on its way, and who waits for the answer to the same one."""

    body: bytes
    followers: list[_Follower] = field(default_factory=list)


class Flights:
    """Lets a request wait for the answer to the same one that came before it."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._flights: dict[Key, _Flight] = {}

    async def predict(self, request: PredictionRequest) -> EngineAnswer:
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

    async def _fly(self, key: Key, request: PredictionRequest) -> EngineAnswer:
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
        answer: EngineAnswer | None = None,
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


async def _landing(flight: _Flight) -> EngineAnswer | None:
    follower: _Follower = asyncio.get_running_loop().create_future()
    flight.followers.append(follower)
    try:
        return await follower
    finally:
        del follower  # as above: an error that it brings has this frame in its traceback
