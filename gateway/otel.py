"""OpenTelemetry spans of the gateway, and their export to a collector.

A request is one trace, here up to the engine's port:

    POST /models/{model}/predict ── engine predict ──▶ the worker's spans (handlers/worker_tracing.py)

Coalesced observations share one call, which can have one parent only. Each of their traces gets a span `coalesced` with
the worker's own figures; the call's parent is the first of these spans, and links connect the others:

    request of A ── coalesced ── engine predict ──▶ worker
                        ▲ links
    request of B ── coalesced
"""

import logging
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import Context, ContextVar

from opentelemetry.context import Context as Parent
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
    use_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.http.context import RequestContext
from logs import current_trace_id

SERVICE = "marina-gateway"
CLOSE_S = 5.0
# A nearby collector answers within this time.
EXPORT_TIMEOUT_S = 3.0
EXPORT_DELAY_MS = 500.0
# Pause between log lines about an unreachable collector.
LOG_PAUSE_S = 60.0

_TIMING = re.compile(r"(\w+);dur=(\d+(?:\.\d+)?)", re.ASCII)
_PARENT_HEADERS = ("traceparent", "tracestate")

_shared: ContextVar[Sequence[Span]] = ContextVar("shared", default=())
"""The `coalesced` spans, one a trace, of the call that the current task makes."""


class OtelTracer:
    """A tracer that makes OpenTelemetry spans."""

    def __init__(self, provider: TracerProvider, exporter: SpanExporter) -> None:
        self._provider = provider
        self._exporter = exporter
        self._tracer = provider.get_tracer(SERVICE)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def request(self, method: str, context: RequestContext) -> Iterator["OtelRequestSpan"]:
        """Make the span of a server; log lines carry its trace id from here on."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in context.headers}
        parent = self._propagator.extract({name: headers[name] for name in _PARENT_HEADERS if name in headers})
        attributes = {"http.request.method": method, "marina.request_id": context.request_id}
        with self._current(method, SpanKind.SERVER, attributes, parent) as span:
            current_trace_id.set(f"{span.get_span_context().trace_id:032x}")
            yield OtelRequestSpan(span, method)

    @contextmanager
    def call(self, model: str, version: str | None, headers: dict[str, str]) -> Iterator["OtelCallSpan"]:
        """Make the span of a client."""
        attributes = {"marina.model": model} | ({} if version is None else {"marina.version": version})
        with self._current("engine predict", SpanKind.CLIENT, attributes) as span, _failing(span):
            self._propagator.inject(headers)
            if span.is_recording():
                # Proxies send this header too; the worker computes from it the time in the queue.
                headers["X-Request-Start"] = f"t={time.time():.6f}"
            yield OtelCallSpan(span)

    @contextmanager
    def together(self, members: Sequence[Context]) -> Iterator[None]:
        """Make a span for each member whose request is traced, all of one length and linked with the first."""
        callers = [span for span in (member.run(get_current_span) for member in members) if span.is_recording()]
        if not callers:
            yield
            return
        first, *others = callers
        leader = self._coalesced(first, others, len(members))
        spans = [leader, *(self._coalesced(other, [leader], len(members)) for other in others)]
        _shared.set(spans)
        try:
            with use_span(leader, record_exception=False, set_status_on_exception=False), _failing(*spans):
                yield
        finally:
            _shared.set(())
            for span in spans:
                span.end()

    def close(self) -> None:
        """Wait for the exporter, but no longer than CLOSE_S; it would retry for half a minute."""
        giving_up = threading.Timer(CLOSE_S, self._exporter.shutdown)
        giving_up.daemon = True
        giving_up.start()
        self._provider.shutdown()
        giving_up.cancel()

    def _current(
        self, name: str, kind: SpanKind, attributes: dict[str, str], parent: Parent | None = None
    ) -> AbstractContextManager[Span]:
        return self._tracer.start_as_current_span(
            name, parent, kind, attributes, record_exception=False, set_status_on_exception=False
        )

    def _coalesced(self, caller: Span, linked: Sequence[Span], size: int) -> Span:
        links = [Link(span.get_span_context()) for span in linked]
        attributes = {"marina.coalesced.size": size}
        return self._tracer.start_span("coalesced", set_span_in_context(caller), attributes=attributes, links=links)


class OtelRequestSpan:
    """A request's span. Its name is the route, because a client chooses the path."""

    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method

    def answered(self, context: RequestContext, status: int) -> None:
        """Record the end; a status below 500 is not an error of this server."""
        if context.route:
            self._span.update_name(f"{self._method} {context.route}")
            self._span.set_attribute("http.route", context.route)
        if context.model:
            self._span.set_attribute("marina.model", context.model)
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))


class OtelCallSpan:
    """A call's span."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def answered(self, status: int, timing: str | None) -> None:
        """Record the end; all requests that share the call get the worker's stages."""
        stages = {f"marina.worker.{name}_ms": float(ms) for name, ms in _TIMING.findall(timing or "")}
        for span in _shared.get():
            span.set_attributes(stages)
        self._span.set_attributes(stages | {"http.response.status_code": status})
        if status >= 400:
            self._span.set_status(Status(StatusCode.ERROR))


@contextmanager
def _failing(*spans: Span) -> Iterator[None]:
    """Set the status of spans whose work raises, without a stack trace, which may quote a request."""
    try:
        yield
    except BaseException as error:
        for span in spans:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        raise


def exporting_tracer(endpoint: str, sample: float) -> OtelTracer:
    """Return a tracer that samples as the parent did, and this share of requests without a parent.

    A thread sends the spans; those for which its queue has no room are dropped.
    """
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S)
    sampler = ParentBased(TraceIdRatioBased(sample))
    provider = TracerProvider(sampler, Resource.create({"service.name": SERVICE}))
    delay_ms = float(os.environ.get("OTEL_BSP_SCHEDULE_DELAY", EXPORT_DELAY_MS))
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=delay_ms))
    logging.getLogger(OTLPSpanExporter.__module__).addFilter(_AtIntervals())
    return OtelTracer(provider, exporter)


class _AtIntervals(logging.Filter):
    """Passes one line in LOG_PAUSE_S; the exporter logs each attempt to reach a collector that is away."""

    _next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the pause is over."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + LOG_PAUSE_S
        return True
