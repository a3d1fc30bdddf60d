"""The shortest way for single observations of policies: answered on the connection, without a task for each.

A policy's answer costs the engine some microseconds, and an ASGI request costs Python a hundred. So the protocol hands
over what is plainly one good observation; everything that needs more than this (other forms, a deadline or key of its
own, business logic, a cache, a trace) goes the ordinary way, and so does whatever cannot be answered here.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import orjson

from errors import DeadlinePassed, Internal, OverCapacity, RequestError, UnknownModel
from gateway.catalog import Catalog
from gateway.dialects.native import prediction
from gateway.dialects.short_routes import RESPONSE_FORMS, ResponseForm, single
from gateway.hooks import Business, EngineResponse, PredictionRequest
from gateway.http.context import REQUEST_ID_HEADER, accepted_id
from gateway.http.payload import JSON
from gateway.metrics import Metrics
from gateway.pipeline import Chain, parsed
from gateway.scheduling.admission import Slot
from gateway.security import Sites
from logs import event
from settings.schema import GatewaySettings

if TYPE_CHECKING:
    from asyncio import TimerHandle

_log = logging.getLogger(__name__)

Headers = Sequence[tuple[bytes, bytes]]
Respond = Callable[[int, Headers, bytes], None]

# A state is some dozen numbers; what is longer is not in such a hurry.
LONGEST = 4096
_READ = {b"content-length", b"content-type", b"host", REQUEST_ID_HEADER}
_PLAIN = {b"user-agent", b"accept", b"accept-encoding", b"connection", b"authorization"}


@dataclass(frozen=True, slots=True)
class Way:
    """Where a path leads: model, version, the route's template and its own response form."""

    model: str
    version: str | None
    route: str
    form: ResponseForm | None


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request that may take the shortcut."""

    way: Way
    request_id: str | None


class Ride:
    """One request on the shortcut, from its body to its answer."""

    __slots__ = ("_answer", "_place", "_request", "_respond", "_started", "_timer", "_top", "_way")

    def __init__(
        self, top: "FastPath", way: Way, request: PredictionRequest, place: Slot | None, respond: Respond
    ) -> None:
        self._top = top
        self._way = way
        self._request = request
        self._place = place
        self._respond = respond

    def start(self, answer: "asyncio.Future[EngineResponse]", seconds: float) -> None:
        """Waits for the answer, and no longer than the deadline."""
        loop = self._top.loop
        self._started = loop.time()
        self._answer = answer
        self._timer: TimerHandle = loop.call_later(seconds, answer.cancel)
        answer.add_done_callback(self._done)

    def hang_up(self) -> None:
        """The client is gone."""
        self._respond = _nobody
        self._answer.cancel()

    def _done(self, answer: "asyncio.Future[EngineResponse]") -> None:
        self._timer.cancel()
        status, headers, body = self._result(answer)
        if self._place is not None:
            self._place.leave(answered=status == 200)
        metrics = self._top.metrics
        metrics.in_flight.dec()
        shown = 499 if self._respond is _nobody else status
        metrics.request(self._way.model, self._way.route, shown, self._top.loop.time() - self._started)
        self._respond(status, headers, body)

    def _result(self, answer: "asyncio.Future[EngineResponse]") -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        if answer.cancelled():
            return self._refusal(DeadlinePassed("no answer before the deadline"))
        # Asked for and not raised: raised here, it would lead to this future, which leads to it.
        error = answer.exception()
        if error is None:
            try:
                return 200, *self._worded(answer.result())
            except RequestError as unfit:
                return self._refusal(unfit)
        if isinstance(error, UnknownModel):
            self._top.catalog.forget()
        if not isinstance(error, RequestError):
            event(_log, logging.ERROR, "unexpected_error", exc_info=error, path=self._way.route)
            error = Internal("something in the gateway broke; its log tells more under this request id")
        return self._refusal(error)

    def _worded(self, answer: EngineResponse) -> tuple[list[tuple[bytes, bytes]], bytes]:
        form = self._way.form
        body = answer.body if form is None else orjson.dumps(single(parsed(answer), form))
        content_type = answer.content_type if form is None else JSON
        headers = self._headers(body, content_type)
        if answer.version is not None:
            headers.insert(2, (b"x-model-version", answer.version.encode("latin-1")))
        return headers, body

    def _refusal(self, error: RequestError) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        told = {"error": error.code, "detail": error.detail, "request_id": self._request.request_id}
        body = orjson.dumps(told)
        more = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in error.headers.items()]
        return error.status, [*self._headers(body, JSON), *more], body

    def _headers(self, body: bytes, content_type: str) -> list[tuple[bytes, bytes]]:
        return [
            (b"content-type", content_type.encode("latin-1")),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", self._request.request_id.encode("ascii")),
            (b"x-content-type-options", b"nosniff"),
        ]


def _nobody(status: int, headers: Headers, body: bytes) -> None:
    """Answers a client that is gone."""


class FastPath:
    """Finds who may take it, and sends them."""

    def __init__(
        self,
        gateway: GatewaySettings,
        catalog: Catalog,
        chain: Chain,
        business: Business,
        metrics: Metrics,
    ) -> None:
        self.metrics = metrics
        # Kept: asking for it costs a system call each time.
        self.loop = asyncio.get_running_loop()
        self._seconds = min(gateway.deadline_ms, gateway.max_deadline_ms) / 1000
        self.catalog = catalog
        self._admission = chain.admission
        self._coalescer = chain.coalescer
        self._traffic = chain.traffic
        self._business = business
        self._sites = Sites(gateway)
        states = [alias for alias in gateway.aliases if alias.request == "state"]
        self._short = {each.path: Way(each.model, None, each.path, RESPONSE_FORMS[each.response]) for each in states}
        self._others = {alias.path for alias in gateway.aliases}
        self._way = lru_cache(maxsize=1024)(self._find)

    def head(self, url: bytes, headers: Headers) -> Head | None:
        """What a request is by its head; None when it goes the ordinary way."""
        way = self._way(url)
        if way is None:
            return None
        read: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in _READ:
                read[name] = value
            elif name not in _PLAIN:
                return None
        length = read.get(b"content-length", b"")
        if read.get(b"content-type") != b"application/json" or not length.isdigit() or int(length) > LONGEST:
            return None
        if (host := read.get(b"host")) is not None and not self._sites.knows(host, None):
            return None  # refused with words, the ordinary way
        offered = read.get(REQUEST_ID_HEADER)
        return Head(way, None if offered is None else offered.decode("latin-1"))

    def send(self, head: Head, body: bytes, respond: Respond) -> Ride | None:
        """Sends an observation on its way; None when it must go the ordinary one."""
        way = head.way
        found = self.catalog.peek(way.model, way.version)
        if found is None:
            return None
        seconds, deadline = self._seconds, self.loop.time() + self._seconds
        name = accepted_id(head.request_id)
        request = PredictionRequest(found.model, way.version, found.kind, JSON, body, name, deadline)
        values = self._coalescer.values_of(request)
        if values is None or (way.form is not None and not body.lstrip().startswith(b"{")):
            return None
        split = self._traffic.split(found.model, way.version)
        if split is not None:
            # A task for each after all, for as long as a version is under trial; admission is on its way.
            through = self._traffic.predict_split(self._admission, split, request)
            return self._ride(way, request, None, respond, asyncio.ensure_future(through), seconds)
        try:
            place = self._admission.enter((found.model, None), deadline)
        except OverCapacity:
            return None
        return self._ride(way, request, place, respond, self._coalescer.join(request, values), seconds)

    def _ride(
        self,
        way: Way,
        request: PredictionRequest,
        place: Slot | None,
        respond: Respond,
        answer: "asyncio.Future[EngineResponse]",
        seconds: float,
    ) -> Ride:
        self.metrics.in_flight.inc()
        ride = Ride(self, way, request, place, respond)
        ride.start(answer, seconds)
        return ride

    def _find(self, url: bytes) -> Way | None:
        path = url.decode("latin-1")
        way = self._short.get(path)
        if way is None and path not in self._others and (named := prediction(path)) is not None:
            way = Way(named.model, named.version, named.route, None)
        if way is None or self._business.before_for(way.model) or self._business.after_for(way.model):
            return None
        return way


def may_be_taken(gateway: GatewaySettings) -> bool:
    """Whether nothing is configured that looks at each request."""
    security = gateway.security
    watched = security.api_keys or security.cors_origins or gateway.access_log or gateway.tracing.endpoint
    return gateway.coalesce.enabled and gateway.cache.max_entries == 0 and not watched
