"""OpenTelemetry traces: one for each request, with a span of the gateway and one of each call to the engine.

Optional: `requirements-otel.txt` brings the library, `gateway.tracing.endpoint` turns it on. Without it nothing is
imported. A request of many observations belongs to the trace of the first of them.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from starlette.types import Scope

from errors import ConfigError
from settings.schema import Tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

SERVICE = "marina-gateway"


class Tracer(Protocol):
    """What the gateway tells about a request on its way."""

    def request(self, scope: Scope, request_id: str) -> AbstractContextManager[None]:
        """Spans the whole request; the client's `traceparent` is continued."""
        ...

    def call(self, model: str, headers: dict[str, str]) -> AbstractContextManager[None]:
        """Spans one call to the engine, and adds `traceparent` to its headers."""
        ...

    def close(self) -> None:
        """Sends what is still to be sent."""
        ...


class NoTracer:
    """Tells nothing."""

    def request(self, scope: Scope, request_id: str) -> AbstractContextManager[None]:
        """Nothing."""
        return _NOTHING

    def call(self, model: str, headers: dict[str, str]) -> AbstractContextManager[None]:
        """Nothing."""
        return _NOTHING

    def close(self) -> None:
        """Nothing."""


_NOTHING = nullcontext()


class OpenTelemetry:
    """Tells OpenTelemetry."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer(SERVICE)
        self._context = TraceContextTextMapPropagator()

    @contextmanager
    def request(self, scope: Scope, request_id: str) -> Iterator[None]:
        """The span of a server."""
        from opentelemetry.trace import SpanKind

        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        attributes = {
            "http.request.method": scope["method"],
            "url.path": scope["path"],
            "marina.request_id": request_id,
        }
        with self._tracer.start_as_current_span(
            f"{scope['method']} {scope['path']}",
            context=self._context.extract(carrier),
            kind=SpanKind.SERVER,
            attributes=attributes,
        ):
            yield

    @contextmanager
    def call(self, model: str, headers: dict[str, str]) -> Iterator[None]:
        """The span of a client."""
        from opentelemetry.trace import SpanKind

        attributes = {"marina.model": model}
        with self._tracer.start_as_current_span("engine predict", kind=SpanKind.CLIENT, attributes=attributes):
            self._context.inject(headers)
            yield

    def close(self) -> None:
        """Waits for the exporter."""
        self._provider.shutdown()


def tracer_for(settings: Tracing) -> Tracer:
    """As configured. Raises ConfigError when tracing is on and its library is missing."""
    if settings.endpoint is None:
        return NoTracer()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigError("gateway.tracing.endpoint needs `pip install -r requirements-otel.txt`") from None
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.endpoint)))
    return OpenTelemetry(provider)
