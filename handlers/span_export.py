"""Sends a worker's spans to the collector that the environment names, and what is left when the worker ends."""

import atexit
import logging
import os
import signal
import sys
import threading
import time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from handlers.spans import SERVICE, Spans

# Set where the environment says nothing else. TorchServe kills a worker that it removes, so little may wait to be sent;
# and the collector is near, or it is not there.
DEFAULTS = {"OTEL_BSP_SCHEDULE_DELAY": "500", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "3"}
CLOSE_S = 3.0
SILENT_S = 60.0


def exporting(model: str, version: str) -> Spans:
    """Send spans to the collector that the environment names, for as long as this worker lives."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    resource = Resource.create({"service.name": SERVICE, "process.pid": os.getpid()})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    logging.getLogger(OTLPSpanExporter.__module__).addFilter(_Seldom())
    _close_at_exit(provider, exporter)
    return Spans(provider, model, version)


class _Seldom(logging.Filter):
    """Lets a line through when there was none for a while: a collector that is away is told of at every attempt."""

    _next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether it is time."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + SILENT_S
        return True


def _close_at_exit(provider: TracerProvider, exporter: OTLPSpanExporter) -> None:
    """Send what is left when TorchServe hangs up or SIGTERM comes, which would end the worker on the spot.

    Where models are loaded beside the first thread, signals are the engine's own matter.
    """

    def close() -> None:
        if _in_first_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # The exporter would go on trying for longer than anybody waits for this worker to end.
        giving_up = threading.Timer(CLOSE_S, exporter.shutdown)
        giving_up.daemon = True
        giving_up.start()
        provider.shutdown()
        giving_up.cancel()

    atexit.register(close)
    if _in_first_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def _in_first_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
