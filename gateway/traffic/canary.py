"""Chooses the version that answers a request while another one is on trial; the first stage of the pipeline.

    no version named, model on trial ──▶ its share (weight) ──▶ the version on trial ──▶ its answer
                                     │                                  │ refused, failed, too slow
                                     └──▶ the others ──▶ the default version ◀┘
                                                           └──▶ a copy of the request (shadow)

A prediction changes nothing, so a request that the version on trial does not answer goes to the default version. The
client sees none of the errors. The version on trial may use half of the request's time; the other half is left for the
default version.
"""

import asyncio
import math
import random
from collections.abc import Awaitable
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b

from deployments.traffic import TrafficSplit
from errors import OverCapacity, RequestError, UnknownModel
from gateway.hooks import EngineResponse, PredictionRequest, Predictor
from gateway.http.context import Headers, header
from gateway.metrics import TrialMetrics
from gateway.traffic.shadow import ShadowTraffic
from gateway.traffic.splits import TrafficSplits

# Steps of this length around a circle of length 1 spread most evenly, and never fall into step with a client.
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
TRIAL_SHARE_OF_TIME = 0.5


class EvenSample:
    """Selects a share of its calls, as evenly as possible."""

    def __init__(self, position: float) -> None:
        self._position = position

    def take(self, share: float) -> bool:
        """Return whether this call belongs to the share."""
        self._position = (self._position + GOLDEN_RATIO) % 1.0
        return self._position < share


class CanaryRouter:
    """A predictor that chooses the version for each request that names none."""

    def __init__(
        self, predictor: Predictor, splits: TrafficSplits, shadow: ShadowTraffic, metrics: TrialMetrics
    ) -> None:
        self._predictor = predictor
        self._splits = splits
        self._shadow = shadow
        self._metrics = metrics
        # Each gateway process starts at a different point.
        start = random.SystemRandom()
        self._canaries, self._copies = EvenSample(start.random()), EvenSample(start.random())

    def split(self, model: str, version: str | None) -> TrafficSplit | None:
        """Return the split of a request; None when it names its version, or no version is on trial."""
        return None if version is not None else self._splits.find(model)

    def sticky(self, model: str, headers: Headers) -> str | None:
        """Return the header value that decides for this client, where a header decides."""
        split = self._splits.find(model)
        if split is None or split.sticky_header is None:
            return None
        return header(headers, split.sticky_header.lower().encode())

    def predict(self, request: PredictionRequest) -> Awaitable[EngineResponse]:
        """Return the answer of the chosen version. Raises what the default version's predictor raises."""
        split = self.split(request.model, request.version)
        if split is None:
            return self._predictor.predict(request)
        return self.predict_split(self._predictor, split, request)

    async def predict_split(
        self, predictor: Predictor, split: TrafficSplit, request: PredictionRequest
    ) -> EngineResponse:
        """Answer as `predict` does, by another predictor, for a request whose split is known."""
        if self._is_canary(split, request):
            answer = await self._from_canary(predictor, split, request)
            if answer is not None:
                return answer
        answer = await self._counted(predictor, split.stable, request)
        if split.copies and not request.explain and self._copies.take(split.copies):
            self._shadow.copy(split, request, answer)
        return answer

    def _is_canary(self, split: TrafficSplit, request: PredictionRequest) -> bool:
        if split.sticky_header is None:
            return self._canaries.take(split.weight)
        # A client that sends no value cannot be pinned to a version, so it stays with the default one.
        return request.sticky is not None and sticky_position(split.trial, request.sticky) < split.weight

    async def _from_canary(
        self, predictor: Predictor, split: TrafficSplit, request: PredictionRequest
    ) -> EngineResponse | None:
        """Return the answer of the version on trial; None when it has none."""
        now = asyncio.get_running_loop().time()
        until = now + (request.deadline - now) * TRIAL_SHARE_OF_TIME
        own = replace(request, version=split.trial, trial=True, deadline=until)
        try:
            async with asyncio.timeout_at(None if until == math.inf else until):
                answer = await self._counted(predictor, split.trial, own)
            if answer.status < 500:
                return answer
        except UnknownModel:
            self._splits.end(request.model)
        except (RequestError, TimeoutError):
            pass
        self._metrics.fallback(request.model, split.trial)
        return None

    async def _counted(self, predictor: Predictor, version: str, request: PredictionRequest) -> EngineResponse:
        clock = asyncio.get_running_loop().time
        started, status = clock(), 0
        try:
            answer = await predictor.predict(request)
            status = answer.status
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
def sticky_position(version: str, value: str) -> float:
    """Return a number from 0 to 1 for a header value; it differs by trial, so that each trial selects other clients."""
    digest = blake2b(f"{version}\0{value}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
