"""What is counted of a version under trial, and of the one beside it; delivery judges by these numbers."""

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Three to a doubling, from half a millisecond to half a minute: a p95 is known to a few percent between them.
FINE = tuple(round(0.0005 * 2 ** (step / 3), 6) for step in range(49))
CHANGES = (1e-6, 1e-5, 1e-4, 1e-3, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

Way = Literal["live", "shadow"]
Result = Literal["same", "differs", "failed", "dropped"]


class TrialMetrics:
    """Nothing is counted, and no line of `/metrics` is made, while no version is under trial."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "marina_gateway_version_seconds",
            "Time until a version's answer while one is under trial; way shadow is a copy of a request",
            ("model", "version", "way", "status"),
            buckets=FINE,
            registry=registry,
        )
        self._fallbacks = Counter(
            "marina_gateway_fallbacks",
            "Requests that a version under trial did not answer and the default version was asked for",
            ("model", "version"),
            registry=registry,
        )
        self._copies = Counter(
            "marina_gateway_shadow",
            "Copies of requests, by what came of them; dropped ones were never sent",
            ("model", "version", "result"),
            registry=registry,
        )
        self._changes = Histogram(
            "marina_gateway_shadow_change",
            "Largest move of a probability or component of a continuous action between the two answers",
            ("model", "version"),
            buckets=CHANGES,
            registry=registry,
        )
        self._largest = Gauge(
            "marina_gateway_shadow_largest_change",
            "The largest of these since the trial began",
            ("model", "version"),
            registry=registry,
            multiprocess_mode="max",
        )
        self._top: dict[tuple[str, str], float] = {}

    def begun(self, model: str, version: str) -> None:
        """A trial begins; what the last one of that version changed is forgotten."""
        self._top[model, version] = 0.0
        self._largest.labels(model, version).set(0)

    def answered(self, model: str, version: str, way: Way, status: int, seconds: float) -> None:
        """Counts one answer, whatever its status."""
        self._seconds.labels(model, version, way, status).observe(seconds)

    def fallback(self, model: str, version: str) -> None:
        """Counts a request that went on to the default version."""
        self._fallbacks.labels(model, version).inc()

    def copied(self, model: str, version: str, result: Result) -> None:
        """Counts one copy."""
        self._copies.labels(model, version, result).inc()

    def changed(self, model: str, version: str, change: float) -> None:
        """Notes how far two answers lie apart."""
        self._changes.labels(model, version).observe(change)
        if change > self._top.get((model, version), 0.0):
            self._top[model, version] = change
            self._largest.labels(model, version).set(change)
