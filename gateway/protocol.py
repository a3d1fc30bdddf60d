"""Uvicorn's HTTP protocol with limits on the head of a request, and with its own errors in our shape."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.guards import is_loopback
from gateway.hang_up import EXTENSION, HangUp
from gateway.overload import EarlyReturns, Refusals, told_to_wait_s
from gateway.shortcut import Head
from gateway.whole_body import EXTENSION as WHOLE_BODY
from gateway.whole_body import WholeBody

if TYPE_CHECKING:
    from gateway.services import Services

Headers = Sequence[tuple[bytes, bytes]]

RESPOND = "marina.respond"
REQUEST_LINE_ROOM = 16  # method, spaces and version beside the path


class _Unheard:
    """An event that nobody waits for."""

    def set(self) -> None:
        """Happens."""


class ShortCycle:
    """What uvicorn wants to know of a request under way, for one on the shortcut."""

    __slots__ = (
        "disconnected", "keep_alive", "message_event", "more_body", "on_response", "response_complete",
        "response_started", "scope", "waiting_for_100_continue",
    )  # fmt: skip

    def __init__(self, *, keep_alive: bool, on_response: Callable[[], None]) -> None:
        self.scope = _POST
        self.keep_alive = keep_alive
        self.on_response = on_response
        self.message_event = _UNHEARD
        self.more_body = self.disconnected = self.waiting_for_100_continue = False
        self.response_started = self.response_complete = False


_POST: dict[str, Any] = {"method": "POST"}
_NONE: dict[str, Any] = {}
_UNHEARD = _Unheard()


class Protocol(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        services: Services = self.app_state["services"]
        security = services.settings.gateway.security
        self._stopping = services.stopping
        self._insecure = services.settings.gateway.insecure
        self._shortcut = services.shortcut
        self._refusals = services.refusals
        self._early: EarlyReturns | None = None
        self._held = b""
        self._hold_timer: asyncio.TimerHandle | None = None
        self._in_message = False
        self._short: Head | None = None
        self._short_body = b""
        self._whole: WholeBody | None = None
        self._max_head = security.max_header_bytes
        self._head_timeout_s = security.head_timeout_s
        self._head_timer: asyncio.TimerHandle | None = None
        self._head = 0
        self._in_head = False
        self._refused = False
        self._hang_up = HangUp()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn's own
        """A client is there; it has a while to say what it wants."""
        super().connection_made(transport)
        if self.server is None or not (self._insecure or is_loopback(self.server[0])):
            self._shortcut = self._refusals = None  # refused with words, the ordinary way
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, and whoever works for it stops."""
        self._head_arrived()
        if self._hold_timer is not None:
            self._hold_timer.cancel()
            self._hold_timer = None
        super().connection_lost(exc)
        if self._whole is not None:
            self._whole.lost()
            self._whole = None
        self._hang_up.happened()

    def data_received(self, data: bytes) -> None:
        """Bytes of requests; nothing more is read on a connection that was refused."""
        if self._refused:
            return
        if self._early is not None and not self._in_message and self._is_alone():
            hold_s = self._early.hold_s(data, self.loop.time())
            if hold_s > 0:
                self._hold(data, hold_s)
                return
        self._read(data)

    def _read(self, data: bytes) -> None:
        super().data_received(data)
        if self._short is not None:
            self._go_ordinary()  # only part of the body is here; that way knows how to wait
        if self._in_head and self._head_timer is None and not self._refused:
            self._expect_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head = REQUEST_LINE_ROOM
        self._in_head = self._in_message = True
        self._extensions: dict[str, Any] = {EXTENSION: self._hang_up}
        self.scope["extensions"] = self._extensions

    def on_url(self, url: bytes) -> None:
        """A piece of the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole header."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._in_head = False
        self._head_arrived()
        if self._refused:
            return
        if self.parser.get_method() == b"POST" and self._is_alone():
            if self._refusals is not None and self._refuse_from_head(self._refusals):
                return
            if self._shortcut is not None:
                self._short = self._shortcut.head(self.url, self.headers)
        if self._short is None:
            self._begin()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._short is not None:
            self._short_body += body
        elif self._whole is not None:
            if not self._whole.add(body):
                self._whole = None
        elif not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request is there."""
        self._in_message = False
        if self._short is not None:
            head, self._short = self._short, None
            if self._take_shortcut(head):
                return
            self._go_ordinary()
        if not self._refused:
            super().on_message_complete()
        if self._whole is not None:
            self._whole.end()
            self._whole = None

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is told so: a head, or a body whose request has no answer yet."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not (cycle.more_body and not cycle.response_started):
            # Another request is being answered; that answer is the last on this connection.
            cycle.keep_alive = False
            self._refused = True
            return
        self._refuse(400, "unreadable_input", "this is not a valid HTTP request")

    def _is_alone(self) -> bool:
        """Whether nothing else is under way on this connection."""
        return (
            (self.cycle is None or self.cycle.response_complete) and not self.pipeline and not self.expect_100_continue
        )

    def _begin(self) -> None:
        super().on_headers_complete()
        self._extensions[RESPOND] = partial(self._respond, self.cycle)
        self._extensions[WHOLE_BODY] = WholeBody(partial(self._gather, self.cycle))

    def _gather(self, cycle: RequestResponseCycle, whole: WholeBody) -> bytes | None:
        """From here on the cycle's body goes to `whole`; returned at once when all of it is there."""
        if cycle.disconnected:
            whole.lost()
        elif not cycle.more_body:
            return bytes(cycle.body)
        elif whole.add(bytes(cycle.body)):
            self._whole = whole
            if cycle.waiting_for_100_continue:
                cycle.waiting_for_100_continue = False
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.flow.resume_reading()
        return None

    def _go_ordinary(self) -> None:
        """The application answers after all: it is told what came so far."""
        self._short, body, self._short_body = None, self._short_body, b""
        self._begin()
        if body:
            super().on_body(body)

    def _refuse_from_head(self, refusals: Refusals) -> bool:
        """Answer 429 where there is no place; the body is dropped as it comes, because the answer is complete."""
        refusal = refusals.of(self.url, self.headers, self.loop.time())
        if refusal is None:
            return False
        cycle = ShortCycle(keep_alive=self.parser.should_keep_alive(), on_response=self.on_response_complete)
        self.cycle = cycle  # type: ignore[assignment]  # all that uvicorn asks of one
        self._respond(cycle, *refusal)
        return True

    def _note_refusal(self, status: int, headers: Headers) -> None:
        """Note what a client was told that comes back too early, or that one has been answered."""
        after_s = told_to_wait_s(status, self.headers, headers)
        if after_s is not None:
            self._early = self._early or EarlyReturns()
            self._early.refused(self.parser.get_method(), self.url, after_s, self.loop.time())
        elif status < 400:
            self._early = None

    def _hold(self, data: bytes, seconds: float) -> None:
        """Keep the beginning of a request unread for a while, and let the rest of it wait with its sender."""
        self._unset_keepalive_if_required()
        self._held = data
        self.flow.pause_reading()
        self._hold_timer = self.loop.call_later(seconds, self._go_on)

    def shutdown(self) -> None:
        """The server ends: what was kept unread is answered now."""
        if self._hold_timer is not None:
            self._hold_timer.cancel()
            self._go_on()
        super().shutdown()

    def _go_on(self) -> None:
        self._hold_timer = None
        data, self._held = self._held, b""
        self.flow.resume_reading()
        self._read(data)

    def _take_shortcut(self, head: Head) -> bool:
        assert self._shortcut is not None
        cycle = ShortCycle(keep_alive=self.parser.should_keep_alive(), on_response=self.on_response_complete)
        ride = self._shortcut.send(head, self._short_body, partial(self._respond, cycle))
        if ride is None:
            return False
        self._short_body = b""
        # To uvicorn it is a request under way like any other: it is waited for, and what is pipelined waits for it.
        self.cycle = cycle  # type: ignore[assignment]
        self._hang_up.callback = ride.hang_up
        return True

    def _respond(self, cycle: RequestResponseCycle | ShortCycle, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer in one write, where two of uvicorn's messages would be two packets."""
        if cycle.disconnected:
            return
        self._note_refusal(status, headers)
        if self._stopping.asked and (b"connection", b"close") not in headers:
            headers = [*headers, (b"connection", b"close")]
        head = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            head += (name, b": ", value, b"\r\n")
            if name == b"connection" and value == b"close":
                cycle.keep_alive = False
        if not cycle.keep_alive and (b"connection", b"close") not in headers:
            head.append(b"connection: close\r\n")
        head.append(b"\r\n")
        if cycle.scope["method"] != "HEAD":
            head.append(body)
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        # They lead back to the cycle: left in it, each request would wait for the garbage collector.
        cycle.scope.get("extensions", _NONE).clear()
        self.transport.write(b"".join(head))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self._head_timeout_s, self._too_slow)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            words = f"the head of the request did not arrive within {self._head_timeout_s:g} s"
            self._refuse(408, "request_timeout", words)

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > self._max_head and not self._refused:
            words = f"request line and headers are larger than the {self._max_head} bytes that are accepted"
            self._refuse(431, "request_header_fields_too_large", words)

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """Answers in the place of the application, which never saw a whole request, and closes the connection."""
        self._refused = True
        request_id = secrets.token_hex(16)
        body = orjson.dumps({"error": code, "detail": detail, "request_id": request_id})
        head = (
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\nx-request-id: {request_id}\r\n"
            "x-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[status] + head.encode("ascii") + body)
        self.transport.close()
