"""One prediction: business logic before, the stages in front of the engine, business logic after.

    before ──▶ traffic ──▶ cache ──▶ dedupe ──▶ admission ──▶ coalesce ──▶ queue ──▶ breaker ──▶ balancer ──▶ after

Each stage is a Predictor around the next one. Stages that the configuration turns off are left out.
"""

from dataclasses import dataclass

import orjson

from errors import UnknownModel
from gateway.catalog import Catalog
from gateway.hooks import (
    After,
    Before,
    Business,
    EngineResponse,
    Prediction,
    PredictionRequest,
    Predictor,
    QueueKey,
    Reply,
)
from gateway.metrics import Metrics, TrialMetrics
from gateway.scheduling.admission import AdmissionControl
from gateway.scheduling.coalesce import Coalescer, ObservationReader, reader_for
from gateway.scheduling.dedupe import Deduplicator, ResponseCache
from gateway.scheduling.queue import RequestQueue
from gateway.served_models import ServedVersion
from gateway.tracing import Tracer
from gateway.traffic.canary import CanaryRouter
from gateway.traffic.shadow import ShadowTraffic
from gateway.traffic.splits import TrafficSplits
from gateway.upstream.balancer import LoadBalancer
from gateway.upstream.breaker import CircuitBreaker
from settings.schema import GatewaySettings

# Batches of a worker: the one that it processes, and the next.
BATCHES_AHEAD = 2


class Pipeline:
    """Runs a prediction and the business logic around it."""

    def __init__(self, engine: Predictor, business: Business, catalog: Catalog, metrics: Metrics) -> None:
        self._engine = engine
        self._business = business
        self._catalog = catalog
        self._metrics = metrics

    async def predict(self, request: PredictionRequest) -> EngineResponse | Reply:
        """Return the engine's bytes unless business logic changed them or replied instead."""
        before = self._business.before_for(request.model)
        if before is not None:
            decided = await self._timed_before(before, request)
            if isinstance(decided, Reply):
                return decided
            request = decided
        try:
            response = await self._engine.predict(request)
        except UnknownModel:
            raise self._catalog.denied(request.model, request.version) from None
        after = self._business.after_for(request.model)
        if after is None or response.headers is not None or request.explain:
            return response  # that of an adopted archive is passed on unread, and an explanation is no prediction
        prediction = Prediction(request, response.content())
        changed = await self._timed_after(after, prediction)
        if isinstance(changed, Reply):
            return changed
        if changed is prediction:
            return response
        return EngineResponse(orjson.dumps(dict(changed.content)), response.content_type, response.version)

    async def _timed_before(self, before: Before, request: PredictionRequest) -> PredictionRequest | Reply:
        with self._metrics.business(request.model, "before"):
            return await before(request)

    async def _timed_after(self, after: After, prediction: Prediction) -> Prediction | Reply:
        with self._metrics.business(prediction.request.model, "after"):
            return await after(prediction)


@dataclass(frozen=True, slots=True)
class EngineStages:
    """The stages in front of the engine: the first of them, and those that others use directly."""

    first: Predictor
    admission: AdmissionControl
    coalescer: Coalescer
    traffic: CanaryRouter
    shadow: ShadowTraffic
    breaker: CircuitBreaker


def build_stages(
    engine: LoadBalancer,
    catalog: Catalog,
    settings: GatewaySettings,
    metrics: Metrics,
    splits: TrafficSplits,
    trials: TrialMetrics,
    tracer: Tracer,
) -> EngineStages:
    """Return the stages that the configuration turns on, in the order above."""
    view = _CatalogView(catalog, settings)
    breaker = CircuitBreaker(engine, settings.breaker, metrics, catalog.glance, engine.is_lost, catalog.is_recorded)
    catalog.follow(breaker.surveyed)
    queue = RequestQueue(breaker, view.parallelism, metrics)
    coalescer = Coalescer(queue, settings.coalesce, view.reader, metrics, tracer)
    behind: Predictor = coalescer if settings.coalesce.enabled else queue
    admission = AdmissionControl(behind, settings.admission, view.observations, metrics, settings.processes)
    first: Predictor = Deduplicator(admission, metrics)
    if settings.cache.max_entries:
        first = ResponseCache(first, settings.cache, view.mark, metrics)
    shadow = ShadowTraffic(behind, splits, trials)
    traffic = CanaryRouter(first, splits, shadow, trials)
    return EngineStages(traffic, admission, coalescer, traffic, shadow, breaker)


class _CatalogView:
    """The facts about a model that the stages need, from the catalog's last snapshot."""

    def __init__(self, catalog: Catalog, settings: GatewaySettings) -> None:
        self._catalog = catalog
        self._settings = settings
        self._readers: dict[tuple[str, str], tuple[ServedVersion, ObservationReader | None]] = {}

    def parallelism(self, key: QueueKey) -> int:
        """Return the number of requests that keeps the model's workers busy: two full batches per worker."""
        found = self._catalog.known(*key)
        if found is None:
            return BATCHES_AHEAD
        return BATCHES_AHEAD * max(1, found.workers_ready) * found.batch_size

    def observations(self, key: QueueKey) -> int:
        """Return the same, counted before observations are put into batches."""
        if self._settings.coalesce.enabled and (reader := self.reader(*key)) is not None:
            return max(self.parallelism(key), BATCHES_AHEAD * (reader.most or self._settings.coalesce.max_batch))
        return self.parallelism(key)

    def reader(self, model: str, version: str | None) -> ObservationReader | None:
        """Return the reader of a version's observations; it is made once for each card."""
        found = self._catalog.known(model, version)
        if found is None:
            return None
        kept = self._readers.get((found.model, found.version))
        if kept is None or kept[0].card is not found.card:
            kept = self._readers[found.model, found.version] = (found, reader_for(found.card))
        return kept[1]

    def mark(self, model: str, version: str | None) -> str | None:
        """Return a text that changes when another archive answers than before."""
        found = self._catalog.known(model, version)
        return None if found is None else f"{found.version} {found.archive}"
