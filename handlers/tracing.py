"""Whether this worker traces: only where OTEL_EXPORTER_OTLP_TRACES_ENDPOINT names a collector.

TorchServe hands its own environment to its workers, so archives need not know. OpenTelemetry's other variables hold as
well: OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_MAX_QUEUE_SIZE and so on.
"""

import logging
import os
from typing import Any, Protocol

from handlers.batch import Forwarded

logger = logging.getLogger(__name__)

ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


class Spans(Protocol):
    """Draws the spans of a worker's batches."""

    def batch(self, context: Any, forwarded: Forwarded, whole_s: float) -> None:
        """Draw every request of a batch that has just been answered in `whole_s` seconds; raises nothing."""
        ...


def spans_for(model: str, version: str) -> Spans | None:
    """What draws this worker's spans; None, and nothing of it imported, where no collector is named.

    A worker without the library says so and serves on.
    """
    if not os.environ.get(ENDPOINT):
        return None
    try:
        from handlers.span_export import exporting
    except ImportError as error:
        missing = {"reason": str(error), "cure": "pip install -r requirements-otel.txt, and start TorchServe again"}
        logger.warning("tracing_unavailable", extra={"fields": missing})
        return None
    return exporting(model, version)
