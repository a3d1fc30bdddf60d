"""What the engine serves, as Prometheus metrics: versions, workers and queues, written anew for each scrape.

TorchServe itself tells none of this on its metrics port. Gauges of the catalog need no file of their own with several
gateway processes: each process has looked at the same engine.
"""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.catalog import ServedVersion, Snapshot

_LABELS = ("model", "version")


def model_metrics(engine_answers: bool | None, snapshot: Snapshot | None) -> bytes:
    """Prometheus' text of one view of the engine; of models nothing while the engine does not answer."""
    registry = CollectorRegistry()
    registry.register(_View(engine_answers, snapshot))
    return generate_latest(registry)


class _View(Collector):
    def __init__(self, engine_answers: bool | None, snapshot: Snapshot | None) -> None:
        self._answers = engine_answers
        found = snapshot.models.values() if engine_answers and snapshot is not None else ()
        self._versions = [version for model in found for version in model.versions]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields each metric with its samples."""
        if self._answers is not None:
            yield GaugeMetricFamily(
                "marina_gateway_engine_up", "Whether the engine answered the last look at it", float(self._answers)
            )
        yield _gauge("serving", "1 for the version that answers when none is named, 0 for the others", self._serving())
        yield _gauge("workers_ready", "Workers that take requests", self._each("workers_ready"))
        yield _gauge("workers_wanted", "Workers that were asked for", self._each("min_workers"))
        yield _gauge("queue_length", "Requests that wait inside the engine", self._each("pending"))

    def _serving(self) -> Iterable[tuple[ServedVersion, float]]:
        return ((version, float(version.default)) for version in self._versions)

    def _each(self, field: str) -> Iterable[tuple[ServedVersion, float]]:
        return ((version, float(getattr(version, field))) for version in self._versions)


def _gauge(name: str, words: str, values: Iterable[tuple[ServedVersion, float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"marina_gateway_model_{name}", words, labels=_LABELS)
    for version, value in values:
        family.add_metric((version.model, version.version), value)
    return family
