"""Sends the gateway's spans to a collector, from a thread of its own; what finds no place in its queue is dropped."""

import logging
import os
import time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from gateway.spans import SERVICE, OpenTelemetry

# The collector is near, or it is not there.
EXPORT_TIMEOUT_S = 3.0
DELAY_MS = 500.0
SILENT_S = 60.0


def exporting(endpoint: str, sample: float) -> OpenTelemetry:
    """A tracer that samples as the parent did, and this share of the requests that have none."""
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S)
    sampler = ParentBased(TraceIdRatioBased(sample))
    provider = TracerProvider(sampler, Resource.create({"service.name": SERVICE}))
    delay_ms = float(os.environ.get("OTEL_BSP_SCHEDULE_DELAY", DELAY_MS))
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=delay_ms))
    logging.getLogger(OTLPSpanExporter.__module__).addFilter(_Seldom())
    return OpenTelemetry(provider, exporter)


class _Seldom(logging.Filter):
    """Lets a line through when there was none for a while: a collector that is away is told of at every attempt."""

    _next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is time."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + SILENT_S
        return True
