"""One prediction: business logic before, the engine, business logic after."""

from dataclasses import dataclass
from typing import Any

import orjson

from errors import Internal
from gateway.catalog import Catalog, ServedVersion
from gateway.hooks import After, Before, Business, EngineResponse, Load, Prediction, PredictionRequest, Predictor, Reply
from gateway.metrics import Metrics, TrialMetrics
from gateway.scheduling.admission import AdmissionControl
from gateway.scheduling.coalesce import Coalescer, Reader, reader_for
from gateway.scheduling.dedupe import Deduplicator, ResponseCache
from gateway.scheduling.queue import RequestQueue
from gateway.tracing import Tracer
from gateway.traffic.canary import CanaryRouter
from gateway.traffic.shadow import ShadowTraffic
from gateway.traffic.splits import TrafficSplits
from gateway.upstream.breaker import CircuitBreaker, Retry
from settings.schema import GatewaySettings


class Pipeline:
    """Runs a prediction and the business logic around it."""

    def __init__(self, engine: Predictor, business: Business, metrics: Metrics) -> None:
        self._engine = engine
        self._business = business
        self._metrics = metrics

    async def predict(self, request: PredictionRequest) -> EngineResponse | Reply:
        """The engine's own bytes when no business logic changed them, or what business logic replied instead."""
        before = self._business.before_for(request.model)
        if before is not None:
            decided = await self._timed_before(before, request)
            if isinstance(decided, Reply):
                return decided
            request = decided
        answer = await self._engine.predict(request)
        after = self._business.after_for(request.model)
        if after is None:
            return answer
        prediction = Prediction(request, parsed(answer))
        changed = await self._timed_after(after, prediction)
        if isinstance(changed, Reply):
            return changed
        if changed is prediction:
            return answer
        return EngineResponse(orjson.dumps(dict(changed.content)), answer.content_type, answer.version)

    async def _timed_before(self, before: Before, request: PredictionRequest) -> PredictionRequest | Reply:
        with self._metrics.business(request.model, "before"):
            return await before(request)

    async def _timed_after(self, after: After, prediction: Prediction) -> Prediction | Reply:
        with self._metrics.business(prediction.request.model, "after"):
            return await after(prediction)


def parsed(answer: EngineResponse) -> dict[str, Any]:
    """The answer's content. Raises Internal when the model's handler does not answer as this kit's do."""
    try:
        content = orjson.loads(answer.body)
    except orjson.JSONDecodeError as error:
        raise Internal("the model's answer is not JSON") from error
    if not isinstance(content, dict) or not isinstance(content.get("predictions"), list):
        raise Internal('the model\'s answer has no list "predictions"')
    return content


# Batches a worker has before it: the one it works on, and the next.
BATCHES_AHEAD = 2


@dataclass(frozen=True, slots=True)
class Chain:
    """The engine with everything in front of it, and the parts that others ask."""

    engine: Predictor
    admission: AdmissionControl
    coalescer: Coalescer
    traffic: CanaryRouter
    shadow: ShadowTraffic


def chain(
    upstream: Predictor,
    catalog: Catalog,
    settings: GatewaySettings,
    metrics: Metrics,
    splits: TrafficSplits,
    trials: TrialMetrics,
    tracer: Tracer,
) -> Chain:
    """The order is told at the top of `engine.py`."""
    view = _View(catalog, settings)
    breaker = CircuitBreaker(Retry(upstream, metrics), settings.breaker, metrics)
    queue = RequestQueue(breaker, view.parallel, metrics)
    coalescer = Coalescer(queue, settings.coalesce, view.reader, metrics, tracer)
    behind: Predictor = coalescer if settings.coalesce.enabled else queue
    admission = AdmissionControl(behind, settings.admission, view.observations, metrics, settings.processes)
    engine: Predictor = Deduplicator(admission, metrics)
    if settings.cache.max_entries:
        engine = ResponseCache(engine, settings.cache, view.mark, metrics)
    shadow = ShadowTraffic(behind, splits, trials)
    traffic = CanaryRouter(engine, splits, shadow, trials)
    return Chain(traffic, admission, coalescer, traffic, shadow)


class _View:
    """What the parts of the chain want to know of a model, from the catalog's last look."""

    def __init__(self, catalog: Catalog, settings: GatewaySettings) -> None:
        self._catalog = catalog
        self._settings = settings
        self._readers: dict[tuple[str, str], tuple[ServedVersion, Reader | None]] = {}

    def parallel(self, load: Load) -> int:
        """Requests of a model that keep its workers busy: full batches at work and as many to follow."""
        found = self._catalog.known(*load)
        if found is None:
            return BATCHES_AHEAD
        return BATCHES_AHEAD * max(1, found.workers_ready) * found.batch_size

    def observations(self, load: Load) -> int:
        """The same counted before observations are put together."""
        if self._settings.coalesce.enabled and (reader := self.reader(*load)) is not None:
            return max(self.parallel(load), BATCHES_AHEAD * (reader.most or self._settings.coalesce.max_batch))
        return self.parallel(load)

    def reader(self, model: str, version: str | None) -> Reader | None:
        """What reads the observations of a version; made once for each look at it."""
        found = self._catalog.known(model, version)
        if found is None:
            return None
        kept = self._readers.get((found.model, found.version))
        if kept is None or kept[0].card is not found.card:
            kept = self._readers[found.model, found.version] = (found, reader_for(found.card))
        return kept[1]

    def mark(self, model: str, version: str | None) -> str | None:
        """What differs when another archive answers than before."""
        found = self._catalog.known(model, version)
        return None if found is None else f"{found.version} {found.archive}"
