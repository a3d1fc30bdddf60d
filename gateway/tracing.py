"""What the gateway tells a tracer about a request on its way, and the tracer that tells nothing.

`gateway.tracing.endpoint` turns tracing on, and `requirements-otel.txt` brings its library; without it nothing of that
is imported. `gateway.spans` draws the trace.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context
from typing import Protocol

from errors import ConfigError
from gateway.http.context import RequestContext
from settings.schema import Tracing


class RequestSpan(Protocol):
    """A request of a client, while it is answered."""

    def answered(self, exchange: RequestContext, status: int) -> None:
        """How it ended: what the exchange knows by now, and the status that went out."""
        ...


class CallSpan(Protocol):
    """A call to the engine, while it is under way."""

    def answered(self, status: int, timing: str | None) -> None:
        """The engine's status, and the stages of the worker as `Server-Timing` names them."""
        ...


class Tracer(Protocol):
    """Where spans begin and end."""

    def request(self, method: str, exchange: RequestContext) -> AbstractContextManager[RequestSpan]:
        """Spans the whole request; the client's `traceparent` is continued."""
        ...

    def call(self, model: str, version: str | None, headers: dict[str, str]) -> AbstractContextManager[CallSpan]:
        """Spans one call to the engine, and adds to its headers what the worker's spans need."""
        ...

    def together(self, members: Sequence[Context]) -> AbstractContextManager[None]:
        """Spans what several requests share, in the trace of each of them; `members` are their contexts."""
        ...

    def close(self) -> None:
        """Sends what is still to be sent; gives up after some seconds when nobody takes it."""
        ...


class _Silent:
    """A span of neither kind that is told everything and keeps nothing."""

    def answered(self, *_: object) -> None:
        """Nothing."""


class NoTracer:
    """Tells nothing."""

    def request(self, method: str, exchange: RequestContext) -> AbstractContextManager[RequestSpan]:
        """Nothing."""
        return _UNTOLD

    def call(self, model: str, version: str | None, headers: dict[str, str]) -> AbstractContextManager[CallSpan]:
        """Nothing."""
        return _UNTOLD

    def together(self, members: Sequence[Context]) -> AbstractContextManager[None]:
        """Nothing."""
        return _NOTHING

    def close(self) -> None:
        """Nothing."""


_NOTHING = nullcontext()
_UNTOLD = nullcontext(_Silent())
SILENT = NoTracer()


def tracer_for(settings: Tracing) -> Tracer:
    """As configured. Raises ConfigError when tracing is on and its library is missing."""
    if settings.endpoint is None:
        return NoTracer()
    try:
        from gateway.span_export import exporting
    except ImportError:
        raise ConfigError("gateway.tracing.endpoint needs `pip install -r requirements-otel.txt`") from None
    return exporting(settings.endpoint, settings.sample)
