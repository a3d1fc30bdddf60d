"""Spans of the gateway, by OpenTelemetry.

A request is one trace, here up to the engine's port:

    POST /models/{model}/predict ── engine predict ──▶ the worker's spans (handlers/spans.py)

Observations that travel together share one call, which can have one parent only. Each of their traces gets a span of
the ride, `coalesced`, with the worker's own figures on it; the call hangs below that of the first, links lead across:

    request of A ── coalesced ── engine predict ──▶ worker
                        ▲ links
    request of B ── coalesced
"""

import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import Context, ContextVar

from opentelemetry.context import Context as Parent
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
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
_TIMING = re.compile(r"(\w+);dur=(\d+(?:\.\d+)?)", re.ASCII)
_PARENTS = ("traceparent", "tracestate")

_shared: ContextVar[Sequence[Span]] = ContextVar("shared", default=())
"""The spans, one a trace, of the ride that the running task is on."""


class OpenTelemetry:
    """Tells OpenTelemetry."""

    def __init__(self, provider: TracerProvider, exporter: SpanExporter) -> None:
        self._provider = provider
        self._exporter = exporter
        self._tracer = provider.get_tracer(SERVICE)
        self._context = TraceContextTextMapPropagator()

    @contextmanager
    def request(self, method: str, exchange: RequestContext) -> Iterator["_Request"]:
        """The span of a server; log lines carry its trace from here on."""
        names = {name.decode("latin-1"): value.decode("latin-1") for name, value in exchange.headers}
        parent = self._context.extract({name: names[name] for name in _PARENTS if name in names})
        attributes = {"http.request.method": method, "marina.request_id": exchange.request_id}
        with self._current(method, SpanKind.SERVER, attributes, parent) as span:
            current_trace_id.set(f"{span.get_span_context().trace_id:032x}")
            yield _Request(span, method)

    @contextmanager
    def call(self, model: str, version: str | None, headers: dict[str, str]) -> Iterator["_Call"]:
        """The span of a client."""
        attributes = {"marina.model": model} | ({} if version is None else {"marina.version": version})
        with self._current("engine predict", SpanKind.CLIENT, attributes) as span, _failing(span):
            self._context.inject(headers)
            if span.is_recording():
                # What proxies tell of a request's way, too: from it the worker knows how long it stood in a queue.
                headers["X-Request-Start"] = f"t={time.time():.6f}"
            yield _Call(span)

    @contextmanager
    def together(self, members: Sequence[Context]) -> Iterator[None]:
        """A span for each member whose request is traced, all of one length and linked with the first."""
        callers = [span for span in (member.run(get_current_span) for member in members) if span.is_recording()]
        if not callers:
            yield
            return
        first, *others = callers
        leader = self._ride(first, others, len(members))
        spans = [leader, *(self._ride(other, [leader], len(members)) for other in others)]
        _shared.set(spans)
        try:
            with use_span(leader, record_exception=False, set_status_on_exception=False), _failing(*spans):
                yield
        finally:
            _shared.set(())
            for span in spans:
                span.end()

    def close(self) -> None:
        """Waits for the exporter, but not for ever: it would go on trying for half a minute."""
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

    def _ride(self, caller: Span, linked: Sequence[Span], size: int) -> Span:
        links = [Link(span.get_span_context()) for span in linked]
        attributes = {"marina.coalesced.size": size}
        return self._tracer.start_span("coalesced", set_span_in_context(caller), attributes=attributes, links=links)


@contextmanager
def _failing(*spans: Span) -> Iterator[None]:
    """Makes what is raised their status; a stack trace may repeat parts of a request."""
    try:
        yield
    except BaseException as error:
        for span in spans:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        raise


class _Request:
    """A request's span; named by its route, as a path may be anything that a client makes up."""

    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method

    def answered(self, exchange: RequestContext, status: int) -> None:
        """A status of the client's own making is no error of this server."""
        if exchange.route:
            self._span.update_name(f"{self._method} {exchange.route}")
            self._span.set_attribute("http.route", exchange.route)
        if exchange.model:
            self._span.set_attribute("marina.model", exchange.model)
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))


class _Call:
    """A call's span."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def answered(self, status: int, timing: str | None) -> None:
        """What the worker tells of its stages goes to everybody who shares the call."""
        stages = {f"marina.worker.{name}_ms": float(ms) for name, ms in _TIMING.findall(timing or "")}
        for span in _shared.get():
            span.set_attributes(stages)
        self._span.set_attributes(stages | {"http.response.status_code": status})
        if status >= 400:
            self._span.set_status(Status(StatusCode.ERROR))
