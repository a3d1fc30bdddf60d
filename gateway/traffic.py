"""Chooses who answers while a new version is under trial, before anything else is done with a request.

    no version named, model under trial ──▶ its share (weight) ──▶ the version under trial ──▶ its answer
                                        │                                  │ refused, failed, too slow
                                        └──▶ the others ──▶ the default version ◀┘
                                                              └──▶ a copy of the request (shadow)

A prediction changes nothing, so what the version under trial does not answer is asked of the default version: a client
sees none of its errors. It may use half of the time that a request has, so that the other half is left for that.
"""

import asyncio
import math
import random
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b

from deployments.traffic import TrafficSplit
from errors import OverCapacity, RequestError, UnknownModel
from gateway.hooks import EngineResponse, PredictionRequest, Predictor
from gateway.http.context import Headers, header
from gateway.shadow import Shadow
from gateway.splits import Splits
from gateway.trial_metrics import TrialMetrics

# Steps of this length around a circle of length 1 spread more evenly than any other, and keep time with no client.
GOLDEN = (math.sqrt(5) - 1) / 2
PATIENCE = 0.5


class Spread:
    """Says yes to a share of its calls, as evenly as can be."""

    def __init__(self, at: float) -> None:
        self._at = at

    def take(self, share: float) -> bool:
        """Whether this call is among the share."""
        self._at = (self._at + GOLDEN) % 1.0
        return self._at < share


class Traffic:
    """The engine, with the version chosen for each request that leaves it open."""

    def __init__(self, engine: Predictor, splits: Splits, shadow: Shadow, metrics: TrialMetrics) -> None:
        self._engine = engine
        self._splits = splits
        self._shadow = shadow
        self._metrics = metrics
        # Several gateway processes begin at different places.
        chance = random.SystemRandom()
        self._canaries, self._copies = Spread(chance.random()), Spread(chance.random())

    def split(self, model: str, version: str | None) -> TrafficSplit | None:
        """The split that a request falls under; None when it names its version, or nothing is under trial."""
        return None if version is not None else self._splits.find(model)

    def sticky(self, model: str, headers: Headers) -> str | None:
        """The header value that decides for this client, None where none does."""
        split = self._splits.find(model)
        if split is None or split.sticky_header is None:
            return None
        return header(headers, split.sticky_header.lower().encode())

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """The answer of whichever version it is. Raises what the default version's engine raises."""
        split = self.split(request.model, request.version)
        if split is None:
            return await self._engine.predict(request)
        return await self.through(self._engine, split, request)

    async def through(self, engine: Predictor, split: TrafficSplit, request: PredictionRequest) -> EngineResponse:
        """The same by another engine, for a request whose split is known."""
        if self._is_canary(split, request):
            answer = await self._of_canary(engine, split, request)
            if answer is not None:
                return answer
        answer = await self._counted(engine, split.stable, request)
        if split.copies and self._copies.take(split.copies):
            self._shadow.copy(split, request, answer)
        return answer

    def _is_canary(self, split: TrafficSplit, request: PredictionRequest) -> bool:
        if split.sticky_header is None:
            return self._canaries.take(split.weight)
        # Who cannot be told apart from others cannot be kept on one side, so stays where it was.
        return request.sticky is not None and place(split.trial, request.sticky) < split.weight

    async def _of_canary(
        self, engine: Predictor, split: TrafficSplit, request: PredictionRequest
    ) -> EngineResponse | None:
        """The answer of the version under trial; None when it has none to give."""
        now = asyncio.get_running_loop().time()
        until = now + (request.deadline - now) * PATIENCE
        own = replace(request, version=split.trial, trial=True, deadline=until)
        try:
            async with asyncio.timeout_at(None if until == math.inf else until):
                return await self._counted(engine, split.trial, own)
        except UnknownModel:
            self._splits.gone(request.model)
        except (RequestError, TimeoutError):
            pass
        self._metrics.fallback(request.model, split.trial)
        return None

    async def _counted(self, engine: Predictor, version: str, request: PredictionRequest) -> EngineResponse:
        clock = asyncio.get_running_loop().time
        started, status = clock(), 0
        try:
            answer = await engine.predict(request)
            status = 200
        except OverCapacity:
            raise  # says nothing about the version
        except RequestError as error:
            status = error.status
            raise
        except asyncio.CancelledError:
            if clock() >= request.deadline:
                status = 504
            raise
        finally:
            if status:
                self._metrics.answered(request.model, version, "live", status, clock() - started)
        return answer


@lru_cache(maxsize=4096)
def place(version: str, value: str) -> float:
    """Where a header value stands between 0 and 1; each trial draws anew, so it is not always the same clients."""
    digest = blake2b(f"{version}\0{value}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
