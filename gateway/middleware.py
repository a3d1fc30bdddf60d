"""The outermost layer of the gateway: checks a request, answers it exactly once, and records it.

    request ──▶ checks (security, API keys) ──▶ application ──▶ response
       └── RequestRecorder: request id, metrics, trace, access log ──┘

The fast path and gRPC use the same recorder.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from engines.torchserve.api import PING
from errors import Internal, RequestError
from gateway.dialects.registry import Dialects
from gateway.http.body import BodyBudget
from gateway.http.context import REQUEST_ID_HEADER, RequestContext, accepted_id, attach, header
from gateway.http.deadline import ClientDisconnect
from gateway.http.responses import CommonHeaders, HttpResponse, ResponseSender, send_response
from gateway.metrics import Metrics
from gateway.shutdown import Shutdown
from gateway.tracing import SILENT, Tracer
from logs import current_request_id, event

_log = logging.getLogger(__name__)

# nginx's number for a client that closed the connection; it is counted, never sent.
CLIENT_GONE = 499
# Monitoring requests these every few seconds; their traces would hide the others.
UNTRACED = frozenset({"/healthz", "/readyz", "/metrics", PING})

RequestCheck = Callable[[Scope], HttpResponse | None]
"""Runs before a request is answered: returns the response that ends it, or None; raises the RequestError that does."""


@dataclass(slots=True)
class Recording:
    """The status of a request: that of a client that left, until a response is sent."""

    status: int = CLIENT_GONE


class RequestRecorder:
    """Records each request of every protocol: metrics, trace, access log and the bytes of its body."""

    def __init__(self, metrics: Metrics, tracer: Tracer, budget: BodyBudget, *, access_log: bool) -> None:
        self._metrics = metrics
        self._tracer = tracer
        self._budget = budget
        self._access_log = access_log
        self.in_flight = 0

    @contextmanager
    def record(self, method: str, path: str, request: RequestContext, *, traced: bool = True) -> Iterator[Recording]:
        """Record a request from its beginning to its end; the body of the statement sets its status."""
        current_request_id.set(request.request_id)
        self.begin()
        recording = Recording()
        try:
            with (self._tracer if traced else SILENT).request(method, request) as span:
                try:
                    yield recording
                finally:
                    span.answered(request, recording.status)
        finally:
            self.end(method, path, request, recording.status)

    def begin(self) -> None:
        """Count a request in flight."""
        self.in_flight += 1
        self._metrics.in_flight.inc()

    def end(self, method: str, path: str, request: RequestContext, status: int) -> None:
        """Record the end of a request that `begin` counted."""
        self.in_flight -= 1
        self._metrics.in_flight.dec()
        if request.held:
            self._budget.give_back(request.held)
        seconds = asyncio.get_running_loop().time() - request.started
        self._metrics.request(request.model, request.route or "unmatched", status, seconds)
        if self._access_log:
            event(
                _log,
                logging.INFO,
                "request",
                method=method,
                path=path,
                model=request.model,
                status=status,
                ms=round(seconds * 1000, 3),
            )

    def refused(self, model: str, route: str, status: int) -> None:
        """Record a request that was refused from its head alone."""
        self._metrics.request(model, route, status, 0.0)


class RequestMiddleware:
    """Gives each request its context, ensures that it gets exactly one response, and records it."""

    def __init__(
        self,
        app: ASGIApp,
        recorder: RequestRecorder,
        dialects: Dialects,
        common: CommonHeaders,
        shutdown: Shutdown,
        checks: Sequence[RequestCheck],
    ) -> None:
        self._app = app
        self._recorder = recorder
        self._dialects = dialects
        self._common = common
        self._shutdown = shutdown
        self._checks = checks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; pass anything else through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        clock = asyncio.get_running_loop().time
        headers, path = scope["headers"], scope["path"]
        request = RequestContext(accepted_id(header(headers, REQUEST_ID_HEADER)), clock(), headers=headers)
        attach(scope, request)
        sender = ResponseSender(scope, send, request.request_id, self._common, self._shutdown)
        with self._recorder.record(scope["method"], path, request, traced=path not in UNTRACED) as recording:
            try:
                await self._answer(scope, receive, sender)
                recording.status = sender.status
            except ClientDisconnect:
                event(_log, logging.INFO, "client_gone", model=request.model)
            except Exception as error:
                # The edge of the process: whatever fails, the client gets a response without a stack trace.
                if not isinstance(error, RequestError):
                    event(_log, logging.ERROR, "unexpected_error", exc_info=error, path=path)
                    if sender.status:
                        raise
                await self._send_error(path, error, request, sender)
                recording.status = sender.status
            finally:
                _finish(scope, request)

    def _answer(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        for check in self._checks:
            response = check(scope)
            if response is not None:
                return send_response(send, response)
        return self._app(scope, receive, send)

    async def _send_error(self, path: str, error: Exception, request: RequestContext, sender: ResponseSender) -> None:
        if not isinstance(error, RequestError):
            error = Internal("the gateway failed on this request; its log has the cause under this request id")
        await send_response(sender, self._dialects.write_error(path, error, request.request_id))


def _finish(scope: Scope, request: RequestContext) -> None:
    request.route = request.route or getattr(scope.get("route"), "path", "")
    if (extensions := scope.get("extensions")) is not None:
        # They refer back to the scope: left there, only the garbage collector would free each request.
        extensions.clear()
