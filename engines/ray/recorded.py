"""What handlers measure: TorchServe's own metrics cache, its values kept instead of written to a log.

TorchServe's frontend reads a worker's metrics from its log, a line a value. Here they go back with the answers of the
batch, and the Front adds them up.
"""

from typing import Any

from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

from engines.ray.counts import Sample


class Recorder(MetricsCacheYamlImpl):  # type: ignore[misc]  # ts is untyped
    """The cache that `context.metrics` is; as in TorchServe, what the metrics file does not declare is dropped."""

    def __init__(self, config_file: str, model: str) -> None:
        super().__init__(config_file_path=config_file)
        self._declared: frozenset[str] | None = None
        self._samples: list[Sample] = []
        self.model_name = model
        self.initialize_cache()
        self._declared = frozenset(name for metrics in self.cache.values() for name in metrics)

    def add_metric_to_cache(self, *given: Any, **named: Any) -> Any:
        """A metric whose values come here."""
        metric = super().add_metric_to_cache(*given, **named)
        kind, names = metric.metric_type.value, list(metric.dimension_names)
        known = self._declared is None or metric.metric_name in self._declared

        def record(value: float, dimension_values: Any = (), request_id: str = "") -> None:
            if known and len(dimension_values) == len(names):
                labels = tuple(zip(names, map(str, dimension_values), strict=True))
                self._samples.append((metric.metric_name, kind, labels, float(value)))

        metric.add_or_update = record
        return metric

    def taken(self) -> list[Sample]:
        """What was measured since the last call."""
        samples, self._samples = self._samples, []
        return samples
