"""Puts together what stands between business logic and the engine."""

from dataclasses import dataclass

from gateway.admission import Admission
from gateway.breaker import Breaker
from gateway.cache import AnswerCache
from gateway.catalog import Catalog
from gateway.coalesce import Coalescer
from gateway.engine import Engine
from gateway.flights import Flights
from gateway.hooks import Load
from gateway.metrics import Metrics
from gateway.observation import Reader, reader_for
from gateway.queue import Queue
from gateway.retry import Retry
from gateway.served import ServedVersion
from gateway.shadow import Shadow
from gateway.splits import Splits
from gateway.tracing import Tracer
from gateway.traffic import Traffic
from gateway.trial_metrics import TrialMetrics
from settings.schema import Gateway

# Batches a worker has before it: the one it works on, and the next.
BATCHES_AHEAD = 2


@dataclass(frozen=True, slots=True)
class Chain:
    """The engine with everything in front of it, and the parts that others ask."""

    engine: Engine
    admission: Admission
    coalescer: Coalescer
    traffic: Traffic
    shadow: Shadow


def chain(
    upstream: Engine,
    catalog: Catalog,
    settings: Gateway,
    metrics: Metrics,
    splits: Splits,
    trials: TrialMetrics,
    tracer: Tracer,
) -> Chain:
    """The order is told at the top of `engine.py`."""
    view = _View(catalog, settings)
    breaker = Breaker(Retry(upstream, metrics), settings.breaker, metrics)
    queue = Queue(breaker, view.parallel, metrics)
    coalescer = Coalescer(queue, settings.coalesce, view.reader, metrics, tracer)
    behind: Engine = coalescer if settings.coalesce.enabled else queue
    admission = Admission(behind, settings.admission, view.observations, metrics, settings.processes)
    engine: Engine = Flights(admission, metrics)
    if settings.cache.max_entries:
        engine = AnswerCache(engine, settings.cache, view.mark, metrics)
    shadow = Shadow(behind, splits, trials)
    traffic = Traffic(engine, splits, shadow, trials)
    return Chain(traffic, admission, coalescer, traffic, shadow)


class _View:
    """What the parts of the chain want to know of a model, from the catalog's last look."""

    def __init__(self, catalog: Catalog, settings: Gateway) -> None:
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
