"""The outermost layer, plain ASGI: request id, metrics, access log, and the last word on errors."""

import asyncio
import logging

from starlette.types import ASGIApp, Receive, Scope, Send

from errors import Internal, RequestError
from gateway.http.body import ClientDisconnect, receiving_of
from gateway.http.context import REQUEST_ID_HEADER, RequestContext, accepted_id, attach, header
from gateway.http.responses import Stamped, error_response
from gateway.metrics import Metrics
from gateway.security import Origins
from gateway.tracing import SILENT, Tracer
from logs import current_request_id, event

_log = logging.getLogger(__name__)

# nginx' number for a client that closed the connection; it is counted, never sent.
CLIENT_GONE = 499
# Asked every few seconds by whoever watches the gateway; among traces they would only be in the way.
WATCHED = frozenset({"/healthz", "/readyz", "/metrics"})


class Edge:
    """Gives each request its id, sees that it gets exactly one answer, and counts it."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, tracer: Tracer, origins: Origins | None, *, access_log: bool
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._tracer = tracer
        self._origins = origins
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request; anything else is passed through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        clock = asyncio.get_running_loop().time
        offered = header(scope["headers"], REQUEST_ID_HEADER)
        request = RequestContext(accepted_id(offered), clock(), headers=scope["headers"])
        attach(scope, request)
        current_request_id.set(request.request_id)
        self._metrics.in_flight.inc()
        status = CLIENT_GONE
        try:
            tracer = SILENT if scope["path"] in WATCHED else self._tracer
            with tracer.request(scope["method"], request) as span:
                try:
                    status = await self._answer(scope, receive, send, request)
                finally:
                    request.route = request.route or getattr(scope.get("route"), "path", "")
                    span.answered(request, status)
        finally:
            self._metrics.in_flight.dec()
            if request.held:
                receiving_of(scope).give_back(request.held)
            if (extensions := scope.get("extensions")) is not None:
                # They lead back to the scope: left in it, each request would wait for the garbage collector.
                extensions.clear()
            self._record(scope, request, status, clock() - request.started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request: RequestContext) -> int:
        """Lets the application answer, or answers for it; the status that went out."""
        stamped = Stamped(scope, send, request.request_id, self._origins)
        try:
            await self._app(scope, receive, stamped)
        except ClientDisconnect:
            event(_log, logging.INFO, "client_gone", model=request.model)
            return CLIENT_GONE
        except RequestError as error:
            await error_response(error, request.request_id)(scope, receive, stamped)
        except Exception as error:
            # The edge of the process: a client gets an answer and no stack trace, whatever broke.
            event(_log, logging.ERROR, "unexpected_error", exc_info=error, path=scope["path"])
            if stamped.status:
                raise
            hidden = Internal("something in the gateway broke; its log tells more under this request id")
            await error_response(hidden, request.request_id)(scope, receive, stamped)
        return stamped.status

    def _record(self, scope: Scope, request: RequestContext, status: int, seconds: float) -> None:
        self._metrics.request(request.model, request.route or "unmatched", status, seconds)
        if self._access_log:
            event(
                _log,
                logging.INFO,
                "request",
                method=scope["method"],
                path=scope["path"],
                model=request.model,
                status=status,
                ms=round(seconds * 1000, 3),
            )
