"""Prometheus metrics of the gateway, in a registry of their own.

Labels take only names that exist: a model that is served, a route that is defined.
"""

from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector, generate_latest

# From a policy's answer on the same machine to the default deadline, in seconds.
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """What the gateway counts. One object per application, so that two in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Histogram(
            "marina_gateway_request_seconds",
            "Time from a request's headers to the end of its answer; status 499 is a client that hung up",
            ("model", "route", "status"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._upstream = Histogram(
            "marina_gateway_upstream_seconds",
            "Time the engine took for one prediction; status lost is no answer at all",
            ("model", "status"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "marina_gateway_requests_in_flight", "Requests that wait for their answer", registry=self.registry
        )

    def request(self, model: str, route: str, status: int, seconds: float) -> None:
        """Counts one finished request."""
        self._requests.labels(model, route, str(status)).observe(seconds)

    def upstream(self, model: str, status: str, seconds: float) -> None:
        """Counts one call to the engine."""
        self._upstream.labels(model, status).observe(seconds)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
