"""How long each stage took and how full the batch was, as TorchServe metrics.

All are histograms, in seconds, because TorchServe's Prometheus buckets run from 5 ms to 10 s and cannot be set; a ratio
fits them as well. `docker/metrics.yaml` declares them: TorchServe drops what its metrics file does not know.
"""

from dataclasses import dataclass
from typing import Any

from ts.metrics.dimension import Dimension
from ts.metrics.metric_type_enum import MetricTypes


@dataclass(frozen=True)
class Stages:
    """One batch: seconds of each stage, and requests in it as a share of the largest batch."""

    decode_s: float
    forward_s: float
    post_s: float
    batch_fill: float


def emit(metrics: Any, stages: Stages, model_name: str, version: str) -> None:
    """Send the stages of one batch to the frontend; `metrics` is TorchServe's cache from the context."""
    values = (
        ("handler_decode_seconds", stages.decode_s, "s"),
        ("handler_forward_seconds", stages.forward_s, "s"),
        ("handler_post_seconds", stages.post_s, "s"),
        ("handler_batch_fill_ratio", stages.batch_fill, "Ratio"),
    )
    for name, value, unit in values:
        dimensions = [
            Dimension("ModelName", model_name),
            Dimension("ModelVersion", version),
            Dimension("Level", "Model"),
        ]
        metrics.add_metric(name, round(value, 6), unit, dimensions=dimensions, metric_type=MetricTypes.HISTOGRAM)
