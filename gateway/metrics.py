"""Prometheus metrics of the gateway, in a registry of their own.

Labels take only names that exist: a model that is served, a route that is defined. With several gateway processes each
writes into files of its own in the folder that they share, and whoever is asked adds them up.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from time import perf_counter
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from gateway.process_slots import ProcessSlot

# From a policy's answer on the same machine to the default deadline, in seconds.
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

BREAKER_STATES = {"closed": 0, "half_open": 1, "open": 2}
BREAKER_NAMES = {number: name for name, number in BREAKER_STATES.items()}


class Metrics:
    """What the gateway counts, with its siblings where it has any.

    One object per application, so that two in one process do not mix.
    """

    def __init__(self, siblings: ProcessSlot | None = None) -> None:
        self._siblings = siblings
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = self._seconds(
            "request", "Time from a request's headers to the end of its answer; status 499 is a client that hung up",
            "model", "route", "status",
        )  # fmt: skip
        self._upstream = self._seconds(
            "upstream", "Time the engine took for one call; status lost is no answer at all", "model", "status"
        )
        self._queue = self._seconds("queue_wait", "Time a request waited for its turn at the engine", "model")
        self._business = self._seconds(
            "business", "Time that business logic took; status error is an exception", "model", "stage", "status"
        )
        self.in_flight = Gauge(
            "marina_gateway_requests_in_flight",
            "Requests that wait for their answer",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._inside = self._gauge("requests_admitted", "Requests of a model that have a place", "livesum")
        self._breaker = self._gauge("breaker_state", "0 closed, 1 half-open (one may try), 2 open", "livemax")
        self._shed = self._counter("shed", "Requests refused because too many were there already", "model")
        self._retries = self._counter("retries", "Requests sent once more after they were lost", "model")
        self._joined = self._counter("joined", "Requests answered by an identical one in flight", "model")
        self._cache = self._counter("cache", "Requests looked up in the cache, by result", "model", "result")
        self._node_calls = self._counter("node_calls", "Calls to one of several nodes", "node", "model", "status")
        self._node_ready = Gauge(
            "marina_gateway_node_in_traffic",
            "1 for a node that gets requests, 0 for one that is left out",
            ("node",),
            registry=self.registry,
            multiprocess_mode="livemin",
        )
        self._coalesced = Histogram(
            "marina_gateway_coalesced_size",
            "Observations that travelled in one request",
            ("model",),
            buckets=SIZES,
            registry=self.registry,
        )
        # Looking a child up by its labels costs more than counting in it.
        self._request_child = lru_cache(maxsize=4096)(self._requests.labels)
        self._upstream_child = lru_cache(maxsize=4096)(self._upstream.labels)
        self._queue_child: Callable[[str], Histogram] = lru_cache(maxsize=1024)(self._queue.labels)
        self._inside_child: Callable[[str], Gauge] = lru_cache(maxsize=1024)(self._inside.labels)

    def request(self, model: str, route: str, status: int, seconds: float) -> None:
        """Counts one finished request."""
        self._request_child(model, route, status).observe(seconds)

    def upstream(self, model: str, status: str, seconds: float) -> None:
        """Counts one call to the engine."""
        self._upstream_child(model, status).observe(seconds)

    def node_call(self, node: str, model: str, status: str) -> None:
        """Counts one call to a node, where there are several."""
        self._node_calls.labels(node, model, status).inc()

    def node_in_traffic(self, node: str, *, ready: bool) -> None:
        """Notes whether a node gets requests."""
        self._node_ready.labels(node).set(ready)

    def queued(self, model: str, seconds: float) -> None:
        """Counts how long a request waited for its turn."""
        self._queue_child(model).observe(seconds)

    def admitted(self, model: str) -> None:
        """Counts a request in."""
        self._inside_child(model).inc()

    def left(self, model: str) -> None:
        """Counts a request out."""
        self._inside_child(model).dec()

    def shed(self, model: str) -> None:
        """Counts a request that was refused for want of a place."""
        self._shed.labels(model).inc()

    def retried(self, model: str) -> None:
        """Counts a request that was sent once more."""
        self._retries.labels(model).inc()

    def joined(self, model: str) -> None:
        """Counts a request that was answered by an identical one."""
        self._joined.labels(model).inc()

    def cache(self, model: str, *, hit: bool) -> None:
        """Counts a look into the cache."""
        self._cache.labels(model, "hit" if hit else "miss").inc()

    def coalesced(self, model: str, size: int) -> None:
        """Counts a request of many."""
        self._coalesced.labels(model).observe(size)

    def breaker(self, model: str, state: Literal["closed", "open", "half_open"]) -> None:
        """Notes how a model's breaker stands now."""
        self._breaker.labels(model).set(BREAKER_STATES[state])

    def breakers(self) -> dict[str, str]:
        """How the breaker of each model stands that ever had a turn; of several processes' breakers the worst."""
        families = self._breaker.collect() if self._siblings is None else self.families()
        found = [family.samples for family in families if family.name == "marina_gateway_breaker_state"]
        return {each.labels["model"]: BREAKER_NAMES[int(each.value)] for samples in found for each in samples}

    @contextmanager
    def business(self, model: str, stage: Literal["before", "after"]) -> Iterator[None]:
        """Times business logic."""
        started, status = perf_counter(), "error"
        try:
            yield
            status = "ok"
        finally:
            self._business.labels(model, stage, status).observe(perf_counter() - started)

    def text(self) -> bytes:
        """All metrics of all gateway processes in Prometheus' text format."""
        return generate_latest(self._together())

    def families(self) -> Iterable[Metric]:
        """The same as objects."""
        return self._together().collect()

    def _together(self) -> CollectorRegistry:
        if self._siblings is None:
            return self.registry
        self._siblings.bury()
        together = CollectorRegistry()
        # prometheus_client has no hints here
        MultiProcessCollector(together, str(self._siblings.folder))  # type: ignore[no-untyped-call]
        together.register(_Start(self._siblings.server))
        return together

    def _seconds(self, name: str, words: str, *labels: str) -> Histogram:
        return Histogram(f"marina_gateway_{name}_seconds", words, labels, buckets=BUCKETS, registry=self.registry)

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(f"marina_gateway_{name}", words, labels, registry=self.registry)

    def _gauge(self, name: str, words: str, mode: Literal["livesum", "livemax"]) -> Gauge:
        return Gauge(f"marina_gateway_{name}", words, ("model",), registry=self.registry, multiprocess_mode=mode)


class _Start(Collector):
    """The start of a gateway of several processes, from which its counts are: that of the server that starts them."""

    def __init__(self, server: int) -> None:
        self._server = server

    def collect(self) -> Iterator[Metric]:
        """Yield it; of the server's other figures none is the gateway's."""
        families = ProcessCollector(pid=lambda: self._server, registry=None).collect()
        return (family for family in families if family.name == "process_start_time_seconds")
