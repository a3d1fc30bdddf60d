"""Measurements of a worker: TorchServe metrics of each batch, and the tracer if tracing is on.

All metrics are histograms, in seconds, because TorchServe's Prometheus buckets run from 5 ms to 10 s and cannot be set;
ratios use the same buckets. `docker/metrics.yaml` declares them: TorchServe drops what its metrics file does not know.

A worker traces only where OTEL_EXPORTER_OTLP_TRACES_ENDPOINT names a collector. TorchServe hands its environment to its
workers, so archives need no setting. OpenTelemetry's other variables apply, too: OTEL_TRACES_SAMPLER,
OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_MAX_QUEUE_SIZE and so on.
"""

import logging
import os
from dataclasses import dataclass
from typing import Any, Protocol

from ts.metrics.dimension import Dimension
from ts.metrics.metric_type_enum import MetricTypes

from handlers.batch import Forwarded

logger = logging.getLogger(__name__)

ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


@dataclass(frozen=True)
class StageTimes:
    """Seconds of each stage of a batch, and its requests as a share of the largest batch."""

    decode_s: float
    forward_s: float
    post_s: float
    batch_fill: float


class BatchTracer(Protocol):
    """Records the spans of a worker's batches."""

    def batch(self, context: Any, forwarded: Forwarded, whole_s: float) -> None:
        """Record every request of a batch that was just answered in `whole_s` seconds; raises nothing."""
        ...


def emit(metrics: Any, times: StageTimes, model_name: str, version: str) -> None:
    """Send the times of one batch to the frontend; `metrics` is TorchServe's cache from the context."""
    values = (
        ("handler_decode_seconds", times.decode_s, "s"),
        ("handler_forward_seconds", times.forward_s, "s"),
        ("handler_post_seconds", times.post_s, "s"),
        ("handler_batch_fill_ratio", times.batch_fill, "Ratio"),
    )
    for name, value, unit in values:
        dimensions = [
            Dimension("ModelName", model_name),
            Dimension("ModelVersion", version),
            Dimension("Level", "Model"),
        ]
        metrics.add_metric(name, round(value, 6), unit, dimensions=dimensions, metric_type=MetricTypes.HISTOGRAM)


def open_tracer(model: str, version: str) -> BatchTracer | None:
    """Return this worker's tracer; None, without importing OpenTelemetry, where no collector is named.

    A worker without the library logs a warning and serves without traces.
    """
    if not os.environ.get(ENDPOINT):
        return None
    try:
        from handlers.worker_tracing import exporting_tracer
    except ImportError as error:
        missing = {"reason": str(error), "cure": "pip install -r requirements-otel.txt, and start TorchServe again"}
        logger.warning("tracing_unavailable", extra={"fields": missing})
        return None
    return exporting_tracer(model, version)
