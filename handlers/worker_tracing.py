"""Spans of a worker, recorded by OpenTelemetry after a batch is answered, and their export to a collector.

In the trace of each request of the batch, below the call that sent it:

    call to the engine ─┬─ queue        from X-Request-Start until the worker got the batch, where that header is set
                        └─ worker ──┬── preprocess
                                    ├── inference
                                    └── postprocess

The stages are those of the whole batch, because each of its requests took as long. The worker returns them in
`Server-Timing` as well, for clients that share one call.
"""

import atexit
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from handlers.batch import Forwarded
from handlers.errors import RequestError

logger = logging.getLogger(__name__)

SERVICE = "marina-worker"
START = "x-request-start"
_UNSAMPLED = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][02468ace]")
_PARENTS = ("traceparent", "tracestate")
# Seconds since 1970, as proxies write them. A time an hour ago, or in the future, comes from another clock.
_SENT = re.compile(r"(?:t=)?(\d{10})\.(\d{1,9})")
LONGEST_QUEUE_NS = 3600 * 10**9

# Used where the environment sets nothing else. TorchServe kills a worker that it removes, so few spans may wait to be
# sent. A nearby collector answers within the timeout.
DEFAULTS = {"OTEL_BSP_SCHEDULE_DELAY": "500", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "3"}
CLOSE_S = 3.0
SILENT_S = 60.0

Stage = tuple[str, int, int]
"""Name, start and end; both in nanoseconds since 1970."""


@dataclass(frozen=True)
class BatchTimeline:
    """The times at which a batch began, was read, left the network and was answered; nanoseconds since 1970."""

    begun: int
    read: int
    forwarded: int
    answered: int

    @classmethod
    def until(cls, answered: int, forwarded: Forwarded, whole_s: float) -> "BatchTimeline":
        """Count back from the end by the duration of each stage."""
        begun = answered - round(whole_s * 1e9)
        read = begun + round(forwarded.decode_s * 1e9)
        return cls(begun, read, min(answered, read + round(forwarded.forward_s * 1e9)), answered)

    def named(self) -> tuple[Stage, ...]:
        """Return the name, start and end of each stage."""
        return (
            ("preprocess", self.begun, self.read),
            ("inference", self.read, self.forwarded),
            ("postprocess", self.forwarded, self.answered),
        )


class SpanRecorder:
    """Records the spans of one worker's batches."""

    def __init__(self, provider: TracerProvider, model: str, version: str) -> None:
        self._tracer = provider.get_tracer(SERVICE)
        self._follows = isinstance(provider.sampler, ParentBased)
        self._parent = TraceContextTextMapPropagator()
        self._model = model
        self._version = version

    def batch(self, context: Any, forwarded: Forwarded, whole_s: float) -> None:
        """Record every request of a batch that was just answered in `whole_s` seconds; raises nothing."""
        stages = BatchTimeline.until(time.time_ns(), forwarded, whole_s)
        try:
            for index, outcome in enumerate(forwarded.requests):
                self._request(context, index, outcome, stages, len(forwarded.requests))
        except Exception:
            # The edge of tracing: the answers are ready, and an error in a trace must not lose one of them.
            logger.exception("tracing_failed")

    def _request(self, context: Any, index: int, outcome: object, stages: BatchTimeline, size: int) -> None:
        headers = {name.lower(): value for name, value in context.get_all_request_header(index).items()}
        if self._follows and _UNSAMPLED.fullmatch(str(headers.get("traceparent", ""))):
            return  # the library would decide the same and take many times longer
        parent = self._parent.extract({name: headers[name] for name in _PARENTS if name in headers})
        span = self._tracer.start_span("worker", parent, SpanKind.SERVER, start_time=stages.begun)
        if not span.is_recording():
            return
        status, _ = context.get_response_status(index)
        span.set_attributes(
            {
                "marina.model": self._model,
                "marina.version": self._version,
                "marina.batch.size": size,
                "marina.request_id": str(headers.get("x-request-id", "")),
                "http.response.status_code": status,
            }
        )
        if status >= 400:
            error = outcome.code if isinstance(outcome, RequestError) else "internal"
            span.set_attribute("error.type", error)
            span.set_status(Status(StatusCode.ERROR, error))
        took = self._below(span, parent, headers, stages)
        span.end(stages.answered)
        timing = ", ".join(f"{name};dur={(end - start) / 1e6:.3f}" for name, start, end in took)
        context.set_response_header(index, "server-timing", timing)

    def _below(self, span: Span, parent: Context, headers: Mapping[str, Any], stages: BatchTimeline) -> list[Stage]:
        """Record the stages of one request, and the queue before them where it is known; return them."""
        below = set_span_in_context(span)
        took: list[Stage] = []
        if (sent := _sent(headers, stages.begun)) is not None:
            took.append(("queue", sent, stages.begun))
            if get_current_span(parent).get_span_context().is_valid:  # else it would start a trace
                self._tracer.start_span("queue", parent, start_time=sent).end(stages.begun)
        for name, start, end in stages.named():
            took.append((name, start, end))
            self._tracer.start_span(name, below, start_time=start).end(end)
        return took


def _sent(headers: Mapping[str, Any], begun: int) -> int | None:
    """Return the time at which a request was sent, in nanoseconds since 1970; None for a missing or impossible one."""
    found = _SENT.fullmatch(str(headers.get(START, "")))
    if found is None:
        return None
    sent = int(found[1]) * 10**9 + int(found[2].ljust(9, "0"))
    return sent if 0 <= begun - sent <= LONGEST_QUEUE_NS else None


def exporting_tracer(model: str, version: str) -> SpanRecorder:
    """Return a recorder that sends spans to the collector that the environment names, until this worker ends."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    resource = Resource.create({"service.name": SERVICE, "process.pid": os.getpid()})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    logging.getLogger(OTLPSpanExporter.__module__).addFilter(_RateLimit())
    _close_at_exit(provider, exporter)
    return SpanRecorder(provider, model, version)


class _RateLimit(logging.Filter):
    """Passes at most one line in a while; the exporter logs every failed attempt."""

    _next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return true for the first line after the silence."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + SILENT_S
        return True


def _close_at_exit(provider: TracerProvider, exporter: OTLPSpanExporter) -> None:
    """Send the remaining spans when TorchServe closes the connection or sends SIGTERM.

    An engine that loads models outside the main thread handles signals itself.
    """

    def close() -> None:
        if _in_main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # The exporter would retry for longer than TorchServe waits for this worker to end.
        giving_up = threading.Timer(CLOSE_S, exporter.shutdown)
        giving_up.daemon = True
        giving_up.start()
        provider.shutdown()
        giving_up.cancel()

    atexit.register(close)
    if _in_main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
