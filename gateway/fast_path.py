"""Single observations of policies, answered on the connection without a task for each.

    head ──▶ FastPath.head: path, headers ──▶ body ──▶ FastPath.send: model, admission ──▶ batch ──▶ response

A policy's answer costs the engine some microseconds, and an ASGI request costs Python a hundred. So the protocol sends
every clearly valid single observation here. Requests that need more (another form, their own deadline or key, business
logic, a cache, a trace) go through the application, and so do requests that cannot be answered here. Both use the same
dialects, admission control, batches, recorder and writer of responses.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from errors import DeadlinePassed, Internal, OverCapacity, RequestError, UnknownModel
from gateway.catalog import Catalog
from gateway.dialects.dialect import DialectRoute, PredictionPath
from gateway.dialects.registry import Dialects
from gateway.hooks import Business, EngineResponse, PredictionRequest
from gateway.http.context import REQUEST_ID_HEADER, RequestContext, accepted_id
from gateway.http.responses import JSON, CommonHeaders, HttpResponse
from gateway.middleware import CLIENT_GONE, RequestRecorder
from gateway.pipeline import EngineStages
from gateway.scheduling.admission import Slot
from gateway.security import KnownHosts
from logs import event
from settings.schema import GatewaySettings

if TYPE_CHECKING:
    from asyncio import TimerHandle

_log = logging.getLogger(__name__)

Headers = Sequence[tuple[bytes, bytes]]
Respond = Callable[[HttpResponse], None]

# An observation is some dozen numbers; a longer body goes through the application.
LONGEST = 4096
_READ = {b"content-length", b"content-type", b"host", REQUEST_ID_HEADER}
_IGNORED = {b"user-agent", b"accept", b"accept-encoding", b"connection", b"authorization"}


@dataclass(frozen=True, slots=True)
class _Target:
    """A path that the fast path answers, its route, and the test for a body that may be one observation."""

    path: PredictionPath
    route: DialectRoute
    is_state: Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class FastHead:
    """The head of a request that the fast path may answer."""

    target: _Target
    request_id: str | None


class FastRequest:
    """One request on the fast path, from its body to its response."""

    __slots__ = ("_context", "_fast_path", "_is_gone", "_respond", "_response", "_route", "_slot", "_timer", "_version")

    def __init__(
        self, fast_path: "FastPath", context: RequestContext, target: _Target, slot: Slot | None, respond: Respond
    ) -> None:
        self._fast_path = fast_path
        self._context = context
        self._route = target.route
        self._version = target.path.version
        self._slot = slot
        self._respond = respond
        self._is_gone = False

    def start(self, response: "asyncio.Future[EngineResponse]") -> None:
        """Wait for the response, but no longer than until the deadline."""
        self._response = response
        self._timer: TimerHandle = self._fast_path.loop.call_at(self._context.deadline, response.cancel)
        response.add_done_callback(self._done)

    def disconnected(self) -> None:
        """Cancel the work for a client that is gone."""
        self._is_gone = True
        self._response.cancel()

    def _done(self, found: "asyncio.Future[EngineResponse]") -> None:
        self._timer.cancel()
        response = self._response_of(found)
        if self._slot is not None:
            self._slot.leave(answered=response.status == 200)
        status = CLIENT_GONE if self._is_gone else response.status
        self._fast_path.recorder.end("POST", self._context.route, self._context, status)
        if not self._is_gone:
            response.headers.extend(self._fast_path.common.of(self._context.request_id, self._context.headers))
            self._respond(response)

    def _response_of(self, found: "asyncio.Future[EngineResponse]") -> HttpResponse:
        if found.cancelled():
            return self._error(DeadlinePassed("no answer before the deadline"))
        # Read the error without raising it: its traceback would refer to this future, which refers to the error.
        error = found.exception()
        if error is None:
            try:
                return self._route.write(found.result())
            except RequestError as unfit:
                return self._error(unfit)
        if isinstance(error, UnknownModel):
            error = self._fast_path.catalog.denied(self._context.model, self._version)
        if not isinstance(error, RequestError):
            event(_log, logging.ERROR, "unexpected_error", exc_info=error, path=self._context.route)
            error = Internal("the gateway failed on this request; its log has the cause under this request id")
        return self._error(error)

    def _error(self, error: RequestError) -> HttpResponse:
        return self._fast_path.dialects.write_error(self._context.route, error, self._context.request_id)


class FastPath:
    """Chooses the requests that it can answer, and sends them."""

    def __init__(
        self,
        gateway: GatewaySettings,
        dialects: Dialects,
        catalog: Catalog,
        stages: EngineStages,
        business: Business,
        recorder: RequestRecorder,
        common: CommonHeaders,
    ) -> None:
        # Cached, because each lookup costs a system call.
        self.loop = asyncio.get_running_loop()
        self.dialects = dialects
        self.catalog = catalog
        self.recorder = recorder
        self.common = common
        self._seconds = min(gateway.deadline_ms, gateway.max_deadline_ms) / 1000
        self._admission = stages.admission
        self._coalescer = stages.coalescer
        self._traffic = stages.traffic
        self._business = business
        self._known_hosts = KnownHosts(gateway)
        self._routes = dialects.routes
        self._target = lru_cache(maxsize=1024)(self._find)

    def head(self, url: bytes, headers: Headers) -> FastHead | None:
        """Return the head of a request that may be answered here, None for any other."""
        target = self._target(url)
        if target is None:
            return None
        read: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in _READ:
                read[name] = value
            elif name not in _IGNORED:
                return None
        length = read.get(b"content-length", b"")
        if read.get(b"content-type") != b"application/json" or not length.isdigit() or int(length) > LONGEST:
            return None
        if (host := read.get(b"host")) is not None and not self._known_hosts.knows(host, None):
            return None  # the application refuses it
        offered = read.get(REQUEST_ID_HEADER)
        return FastHead(target, None if offered is None else offered.decode("latin-1"))

    def send(self, head: FastHead, body: bytes, respond: Respond) -> FastRequest | None:
        """Send an observation to the engine; None when the application must answer the request."""
        path, route = head.target.path, head.target.route
        model = self._chosen(route) if path.model is None else path.model
        found = None if model is None else self.catalog.peek(model, path.version)
        if found is None or not head.target.is_state(body):
            return None
        started = self.loop.time()
        deadline = started + self._seconds
        context = RequestContext(accepted_id(head.request_id), started, route.template, found.model, deadline)
        request = PredictionRequest(
            found.model, path.version, found.kind, JSON, body, context.request_id, context.deadline
        )
        values = self._coalescer.values_of(request)
        if values is None:
            return None
        split = self._traffic.split(found.model, path.version)
        try:
            slot = self._admission.enter(request.queue_key, deadline) if split is None else None
        except OverCapacity:
            return None
        sent = FastRequest(self, context, head.target, slot, respond)
        self.recorder.begin()
        if split is None:
            sent.start(self._coalescer.batcher(found.model, path.version).join(request, values))
        else:
            # While a version is on trial, each request needs a task, which passes admission.
            sent.start(asyncio.ensure_future(self._traffic.predict_split(self._admission, split, request)))
        return sent

    def _find(self, url: bytes) -> _Target | None:
        path = self.dialects.find(url.decode("latin-1"))
        route = None if path is None else self._routes.get(path.template)
        if path is None or route is None or route.is_state is None:
            return None
        if path.model is not None and self._has_logic(path.model):
            return None
        return _Target(path, route, route.is_state)

    def _chosen(self, route: DialectRoute) -> str | None:
        """Return the model of a route whose path names none; None when the application must answer."""
        model = None if route.choose is None else self.catalog.chosen(route.choose, (), None)
        return None if model is None or self._has_logic(model) else model

    def _has_logic(self, model: str) -> bool:
        return self._business.before_for(model) is not None or self._business.after_for(model) is not None


def is_usable(gateway: GatewaySettings) -> bool:
    """Return True unless the configuration has a stage that the fast path skips."""
    security = gateway.security
    passed = security.api_keys or security.cors_origins or gateway.access_log or gateway.tracing.endpoint
    return gateway.coalesce.enabled and gateway.cache.max_entries == 0 and not passed
