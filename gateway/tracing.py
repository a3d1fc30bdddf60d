"""The tracer's interface, and the tracer that does nothing.

`gateway.tracing.endpoint` turns tracing on, and `requirements-otel.txt` brings its library. Without it nothing of that
library is imported. `gateway.otel` has the tracer that makes spans.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context
from typing import Protocol

from errors import ConfigError
from gateway.http.context import RequestContext
from settings.schema import TracingSettings


class RequestSpan(Protocol):
    """The span of a client's request."""

    def answered(self, context: RequestContext, status: int) -> None:
        """Record the end: the final context, and the status of the response."""
        ...


class CallSpan(Protocol):
    """The span of a call to the engine."""

    def answered(self, status: int, timing: str | None) -> None:
        """Record the engine's status, and the stages of the worker as `Server-Timing` lists them."""
        ...


class Tracer(Protocol):
    """Begins and ends spans."""

    def request(self, method: str, context: RequestContext) -> AbstractContextManager[RequestSpan]:
        """Span a whole request; the client's `traceparent` is continued."""
        ...

    def call(self, model: str, version: str | None, headers: dict[str, str]) -> AbstractContextManager[CallSpan]:
        """Span one call to the engine, and add the headers that the worker's spans need."""
        ...

    def together(self, members: Sequence[Context]) -> AbstractContextManager[None]:
        """Span work that several requests share, in the trace of each of them; `members` are their contexts."""
        ...

    def close(self) -> None:
        """Send the remaining spans; give up after some seconds when nothing accepts them."""
        ...


class _NoSpan:
    """A request or call span that records nothing."""

    def answered(self, *_: object) -> None:
        """Do nothing."""


class NoTracer:
    """A tracer that makes no spans."""

    def request(self, method: str, context: RequestContext) -> AbstractContextManager[RequestSpan]:
        """Return a span that keeps nothing."""
        return _NO_SPAN

    def call(self, model: str, version: str | None, headers: dict[str, str]) -> AbstractContextManager[CallSpan]:
        """Return a span that keeps nothing."""
        return _NO_SPAN

    def together(self, members: Sequence[Context]) -> AbstractContextManager[None]:
        """Return a context that does nothing."""
        return _NOTHING

    def close(self) -> None:
        """Do nothing."""


_NOTHING = nullcontext()
_NO_SPAN = nullcontext(_NoSpan())
SILENT = NoTracer()


def tracer_for(settings: TracingSettings) -> Tracer:
    """Return the configured tracer. Raises ConfigError when tracing is on and its library is missing."""
    if settings.endpoint is None:
        return NoTracer()
    try:
        from gateway.otel import exporting_tracer
    except ImportError:
        raise ConfigError("gateway.tracing.endpoint needs `pip install -r requirements-otel.txt`") from None
    return exporting_tracer(settings.endpoint, settings.sample)
