"""Every Prometheus series of the gateway, in the gateway's own registry.

Metrics         requests and the calls to the engine
TrialMetrics    a version on trial, beside the default one; delivery decides by these
model_metrics   the models that the engine serves, as the catalog knows them

Label values are names that exist: a served model, a defined route. With several gateway processes, each writes files in
the folder that they share, and the process that answers `/metrics` adds them up.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from time import perf_counter
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from gateway.process_slots import ProcessSlot
from gateway.served_models import Snapshot

# Seconds, from a policy's answer on the same machine to the default deadline.
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# Three to a doubling, from half a millisecond to half a minute: a p95 between them is exact to a few percent.
TRIAL_BUCKETS = tuple(round(0.0005 * 2 ** (step / 3), 6) for step in range(49))
CHANGES = (1e-6, 1e-5, 1e-4, 1e-3, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

BREAKER_STATES = {"closed": 0, "half_open": 1, "open": 2}
BREAKER_NAMES = {number: name for name, number in BREAKER_STATES.items()}


Way = Literal["live", "shadow"]
CopyResult = Literal["same", "differs", "failed", "dropped"]


class Metrics:
    """The figures of one application; with a `slot`, those of all processes of its gateway."""

    def __init__(self, slot: ProcessSlot | None = None) -> None:
        self._slot = slot
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = self._seconds(
            "request",
            "Time from a request's headers to the end of its answer; status 499 means that the client left",
            "model",
            "route",
            "status",
        )
        self._upstream = self._seconds(
            "upstream", "Time the engine took for one call; status lost means no answer", "model", "status"
        )
        self._queue = self._seconds("queue_wait", "Time that a request waited in the queue for the engine", "model")
        self._business = self._seconds(
            "business", "Time that business logic took; status error means an exception", "model", "stage", "status"
        )
        self.in_flight = Gauge(
            "marina_gateway_requests_in_flight",
            "Requests that are not answered yet",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._inside = self._gauge("requests_admitted", "Admitted requests of a model", "livesum")
        self._breaker = self._gauge(
            "breaker_state",
            "0 closed, 1 half-open (one request is tried, others wait for it), 2 open (requests are refused)",
            "livemax",
        )
        self._shed = self._counter("shed", "Requests refused because too many were admitted already", "model")
        self._retries = self._counter(
            "retries", "Requests sent again after a worker or its connection was lost", "model"
        )
        self._joined = self._counter("joined", "Requests answered by an identical one in flight", "model")
        self._cache = self._counter("cache", "Requests looked up in the cache, by result", "model", "result")
        self._node_calls = self._counter(
            "node_calls", "Calls to one of several engine hosts", "node", "model", "status"
        )
        self._node_ready = Gauge(
            "marina_gateway_node_in_traffic",
            "1 for an engine host that gets requests, 0 for one that does not",
            ("node",),
            registry=self.registry,
            multiprocess_mode="livemin",
        )
        self._coalesced = Histogram(
            "marina_gateway_coalesced_size",
            "Observations in one request to the engine",
            ("model",),
            buckets=BATCH_SIZES,
            registry=self.registry,
        )
        # Looking up a child by its labels costs more than incrementing it.
        self._request_child = lru_cache(maxsize=4096)(self._requests.labels)
        self._upstream_child = lru_cache(maxsize=4096)(self._upstream.labels)
        self._queue_child: Callable[[str], Histogram] = lru_cache(maxsize=1024)(self._queue.labels)
        self._inside_child: Callable[[str], Gauge] = lru_cache(maxsize=1024)(self._inside.labels)

    def request(self, model: str, route: str, status: int, seconds: float) -> None:
        """Count a finished request."""
        self._request_child(model, route, status).observe(seconds)

    def upstream(self, model: str, status: str, seconds: float) -> None:
        """Count a call to the engine."""
        self._upstream_child(model, status).observe(seconds)

    def node_call(self, node: str, model: str, status: str) -> None:
        """Count a call to one of several engine hosts."""
        self._node_calls.labels(node, model, status).inc()

    def node_in_traffic(self, node: str, *, ready: bool) -> None:
        """Set whether an engine host gets requests."""
        self._node_ready.labels(node).set(ready)

    def queued(self, model: str, seconds: float) -> None:
        """Count the time that a request waited in the queue."""
        self._queue_child(model).observe(seconds)

    def admitted(self, model: str) -> None:
        """Count a request that is admitted."""
        self._inside_child(model).inc()

    def left(self, model: str) -> None:
        """Count a request that leaves."""
        self._inside_child(model).dec()

    def shed(self, model: str) -> None:
        """Count a request that is refused because too many are admitted."""
        self._shed.labels(model).inc()

    def retried(self, model: str) -> None:
        """Count a request that is sent again."""
        self._retries.labels(model).inc()

    def joined(self, model: str) -> None:
        """Count a request that an identical one answers."""
        self._joined.labels(model).inc()

    def cache(self, model: str, *, hit: bool) -> None:
        """Count a lookup in the response cache."""
        self._cache.labels(model, "hit" if hit else "miss").inc()

    def coalesced(self, model: str, size: int) -> None:
        """Count a request of several observations."""
        self._coalesced.labels(model).observe(size)

    def breaker(self, model: str, state: Literal["closed", "open", "half_open"]) -> None:
        """Set the state of a model's circuit breaker."""
        self._breaker.labels(model).set(BREAKER_STATES[state])

    def breakers(self) -> dict[str, str]:
        """Return the state of each model's circuit breaker; of several processes' breakers, the worst."""
        families = self._breaker.collect() if self._slot is None else self.families()
        found = [family.samples for family in families if family.name == "marina_gateway_breaker_state"]
        return {each.labels["model"]: BREAKER_NAMES[int(each.value)] for samples in found for each in samples}

    @contextmanager
    def business(self, model: str, stage: Literal["before", "after"]) -> Iterator[None]:
        """Time a hook of business logic."""
        started, status = perf_counter(), "error"
        try:
            yield
            status = "ok"
        finally:
            self._business.labels(model, stage, status).observe(perf_counter() - started)

    def text(self) -> bytes:
        """Return the metrics of all gateway processes in Prometheus' text format."""
        return generate_latest(self._registry_of_all())

    def families(self) -> Iterable[Metric]:
        """Return the same as objects."""
        return self._registry_of_all().collect()

    def _registry_of_all(self) -> CollectorRegistry:
        if self._slot is None:
            return self.registry
        self._slot.bury()
        together = CollectorRegistry()
        MultiProcessCollector(together, str(self._slot.folder))  # type: ignore[no-untyped-call]  # it has no hints
        together.register(_ServerStart(self._slot.server))
        return together

    def _seconds(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"marina_gateway_{name}_seconds", text, labels, buckets=BUCKETS, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"marina_gateway_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, mode: Literal["livesum", "livemax"]) -> Gauge:
        return Gauge(f"marina_gateway_{name}", text, ("model",), registry=self.registry, multiprocess_mode=mode)


class _ServerStart(Collector):
    """The start time of the server; the counts of its gateway processes grow from then on."""

    def __init__(self, server: int) -> None:
        self._server = server

    def collect(self) -> Iterator[Metric]:
        """Return only the start time; the server's other figures do not describe the gateway."""
        families = ProcessCollector(pid=lambda: self._server, registry=None).collect()
        return (family for family in families if family.name == "process_start_time_seconds")


class TrialMetrics:
    """Counts of a version on trial and of the default one beside it; `/metrics` has none before the first trial."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("model", "version")
        self._seconds = Histogram(
            "marina_gateway_version_seconds",
            "Time until a version's answer during a trial; way shadow is a copy of a request",
            (*labels, "way", "status"),
            buckets=TRIAL_BUCKETS,
            registry=registry,
        )
        self._fallbacks = Counter(
            "marina_gateway_fallbacks",
            "Requests that a version on trial did not answer, so the default version did",
            labels,
            registry=registry,
        )
        self._copies = Counter(
            "marina_gateway_shadow",
            "Copies of requests by result; dropped ones were not sent",
            (*labels, "result"),
            registry=registry,
        )
        self._changes = Histogram(
            "marina_gateway_shadow_change",
            "Largest change of a probability or component of a continuous action between the two answers",
            labels,
            buckets=CHANGES,
            registry=registry,
        )
        self._largest = Gauge(
            "marina_gateway_shadow_largest_change",
            "Largest of these changes since the trial began",
            labels,
            registry=registry,
            multiprocess_mode="max",
        )
        self._top: dict[tuple[str, str], float] = {}

    def begun(self, model: str, version: str) -> None:
        """Start a trial; the largest change of an earlier trial of that version is forgotten."""
        self._top[model, version] = 0.0
        self._largest.labels(model, version).set(0)

    def answered(self, model: str, version: str, way: Way, status: int, seconds: float) -> None:
        """Count an answer, whatever its status."""
        self._seconds.labels(model, version, way, status).observe(seconds)

    def fallback(self, model: str, version: str) -> None:
        """Count a request that went on to the default version."""
        self._fallbacks.labels(model, version).inc()

    def copied(self, model: str, version: str, result: CopyResult) -> None:
        """Count a copy by its result."""
        self._copies.labels(model, version, result).inc()

    def changed(self, model: str, version: str, change: float) -> None:
        """Count the largest change between two answers to one request."""
        self._changes.labels(model, version).observe(change)
        if change > self._top.get((model, version), 0.0):
            self._top[model, version] = change
            self._largest.labels(model, version).set(change)


def model_metrics(engine_answers: bool | None, snapshot: Snapshot | None) -> bytes:
    """Return Prometheus' text about the models that the engine serves; without models while it does not answer.

    TorchServe's own metrics lack these figures. Every gateway process sees the same engine, so nothing is summed.
    """
    registry = CollectorRegistry()
    registry.register(_ServedModels(engine_answers, snapshot))
    return generate_latest(registry)


def pending_requests(engine_answers: bool | None, snapshot: Snapshot | None) -> dict[tuple[str, str], int]:
    """Return the requests that wait in the engine, by model and version; empty while it does not answer."""
    models = snapshot.models.values() if engine_answers and snapshot is not None else ()
    return {(each.model, each.version): each.pending for model in models for each in model.versions}


class _ServedModels(Collector):
    def __init__(self, engine_answers: bool | None, snapshot: Snapshot | None) -> None:
        self._answers = engine_answers
        models = snapshot.models.values() if engine_answers and snapshot is not None else ()
        self._versions = [version for model in models for version in model.versions]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield each metric with its samples."""
        if self._answers is not None:
            yield GaugeMetricFamily(
                "marina_gateway_engine_up", "1 while the engine answers, 0 while it does not", float(self._answers)
            )
        yield self._gauge("serving", "1 for the version that answers when none is named, 0 for the others", "default")
        yield self._gauge("workers_ready", "Workers that take requests", "workers_ready")
        yield self._gauge("workers_wanted", "Workers that are configured", "min_workers")
        yield self._gauge("queue_length", "Requests that wait in the engine", "pending")

    def _gauge(self, name: str, text: str, attribute: str) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"marina_gateway_model_{name}", text, labels=("model", "version"))
        for version in self._versions:
            family.add_metric((version.model, version.version), float(getattr(version, attribute)))
        return family
