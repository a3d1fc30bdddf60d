"""Uvicorn's HTTP protocol with limits on the head of a request, and with its own errors in our shape."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.early_refusal import EarlyReturns, Refusals, told_to_wait_s
from gateway.fast_path import Head
from gateway.http.body import EXTENSION as WHOLE_BODY
from gateway.http.body import WholeBody
from gateway.http.closing import HalfClosed, Linger
from gateway.http.context import RESPOND
from gateway.http.deadline import EXTENSION, Disconnect
from gateway.security import is_loopback

if TYPE_CHECKING:
    from gateway.services import Services

Headers = Sequence[tuple[bytes, bytes]]

REQUEST_LINE_ROOM = 16  # method, spaces and version beside the path
CLOSE, KEEP_ALIVE = b"connection: close\r\n", b"connection: keep-alive\r\n"
# What asks for another protocol on the connection; none is offered, and the request is answered as if they were not.
UPGRADING = frozenset({b"upgrade", b"connection", b"http2-settings"})


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

    def __init__(self, scope: dict[str, Any], on_response: Callable[[], None], *, keep_alive: bool) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        self.on_response = on_response
        self.message_event = _UNHEARD
        self.more_body = self.disconnected = self.waiting_for_100_continue = False
        self.response_started = self.response_complete = False


_POST: dict[str, Any] = {"method": "POST", "http_version": "1.1"}
_OLD_POST: dict[str, Any] = {"method": "POST", "http_version": "1.0"}
_UNHEARD = _Unheard()


def _undecided(cycle: RequestResponseCycle | ShortCycle) -> bool:
    """Whether a client that waits for leave to send its body may send it or not: nobody knows what comes next."""
    return cycle.waiting_for_100_continue and cycle.more_body


class Protocol(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        services: Services = self.app_state["services"]
        security = services.settings.gateway.security
        self._stopping = services.stopping
        self._origins = services.origins
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
        self._upgrading = False
        self._linger: Linger | None = None
        self._half_closed: HalfClosed | None = None
        self._eof = False
        self._hang_up = Disconnect()
        self._extensions: dict[str, Any] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn's own
        """A client is there; it has a while to say what it wants."""
        super().connection_made(transport)
        if self.server is None or not (self._insecure or is_loopback(self.server[0])):
            self._shortcut = self._refusals = None  # refused with words, the ordinary way
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, and whoever works for it stops; nothing is left that leads back to the connection."""
        self._head_arrived()
        if self._hold_timer is not None:
            self._hold_timer.cancel()
            self._hold_timer = None
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._given_up()
        for ended in (self._linger, self._half_closed):
            if ended is not None:
                ended.end()
        self.pipeline.clear()
        self.cycle = self.scope = self._linger = self._half_closed = None  # type: ignore[assignment]
        self._extensions = {}

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's own may return it, uvicorn's never does
        """The client sends no more; it still gets the answers that it waits for."""
        self._eof = True
        if self._refused or not self._owes_answer():
            return False
        if self._half_closed is None and self.scope["http_version"] != "1.0":
            self._half_closed = HalfClosed(self.transport, self.loop)
        return True

    def data_received(self, data: bytes) -> None:
        """Bytes of requests; nothing more is read on a connection that was refused."""
        if self._refused:
            if self._linger is not None:
                self._linger.drop(len(data))
            return
        if self._early is not None and not self._in_message and self._is_alone():
            hold_s = self._early.hold_s(data, self.loop.time())
            if hold_s > 0:
                self._hold(data, hold_s)
                return
        self._read(data)

    def _read(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(400, "unreadable_input", "this is not a valid HTTP request")
            return
        if self._short is not None:
            self._go_ordinary()  # only part of the body is here; that way knows how to wait
        if self._in_head and self._head_timer is None and not self._refused:
            self._expect_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head = REQUEST_LINE_ROOM
        self._hosts = 0
        self._wrong: tuple[int, str, str] | None = None
        self._in_head = self._in_message = True
        self._begun = False
        self._extensions = {EXTENSION: self._hang_up}
        self.scope["extensions"] = self._extensions

    def on_url(self, url: bytes) -> None:
        """A piece of the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole header."""
        self._count(len(name) + len(value) + 4)
        name = name.lower()
        if name == b"host":
            self._hosts += 1
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            self._wrong = (501, "not_implemented", "a body may be `Transfer-Encoding: chunked`, and nothing else")
        elif name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
            if not self.expect_100_continue:
                self._wrong = (417, "expectation_failed", "`Expect: 100-continue` is the only one that is met")
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._in_head = False
        self._head_arrived()
        if self._refused or self._is_wrong():
            return
        if self.parser.should_upgrade():
            self._upgrading = True  # the parser takes what follows for another protocol: data_received goes on
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
        if self._upgrading:
            return
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
        self._begun = False

    def on_response_complete(self) -> None:
        """An answer is out: the next one's turn, or the end of a connection on which nothing more is read."""
        if self._linger is not None:
            self.server_state.total_requests += 1
            return
        last = self._reads_no_more and not self.pipeline
        super().on_response_complete()
        if last:
            self._close(sending=self._refused)

    @property
    def _reads_no_more(self) -> bool:
        return self._eof or self._refused

    def _is_wrong(self) -> bool:
        """Whether the head was refused."""
        version = self.parser.get_http_version()
        if self._hosts != 1 and (self._hosts or version != "1.0"):
            self._wrong = (400, "unreadable_input", "a request needs one Host header, and no second one")
        if self.url[:1] != b"/":
            self._take_authority()
        if self.parser.get_method() == b"CONNECT":
            self._wrong = (405, "method_not_allowed", "this is no proxy: nothing is connected to")
        if self._wrong is not None:
            self._refuse(*self._wrong)
        self._keeps_old = version == "1.0" and self.parser.should_keep_alive()
        # A client of HTTP/1.0 knows no interim response, and sends its body without one.
        self.expect_100_continue = self.expect_100_continue and version != "1.0"
        return self._wrong is not None

    def _take_authority(self) -> None:
        """Whoever sends a whole URL names the site in it, and the Host header counts for nothing."""
        with suppress(httptools.HttpParserInvalidURLError):
            found = httptools.parse_url(self.url)
            if found.host is not None:
                self.headers[:] = [each for each in self.headers if each[0] != b"host"]
                self.headers.append((b"host", found.host))

    def _feed(self, data: bytes) -> None:
        """Parses; a request that wishes for another protocol is parsed anew without the wish, its body as a body.

        The parser itself takes all that follows such a head for the other protocol.
        """
        rest = memoryview(data)
        while not self._refused:
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as asked:
                rest = rest[asked.args[0] :]
            if not self._upgrading:
                return  # CONNECT, which was refused
            self._upgrading = False
            head = self._head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(head)

    def _head_without_upgrade(self) -> bytes:
        lines = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name == b"connection" and b"close" in value.lower():
                value = b"close"
            elif name in UPGRADING:
                continue
            lines += (name, b": ", value, b"\r\n")
        return b"".join((*lines, b"\r\n"))

    def _owes_answer(self) -> bool:
        """Whether a request came whole and has no answer yet; one that did not come whole is given up."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        if cycle.more_body and self.pipeline:
            self.pipeline.popleft()
            return True
        return not cycle.more_body

    def _is_alone(self) -> bool:
        """Whether nothing else is under way on this connection."""
        return (
            (self.cycle is None or self.cycle.response_complete) and not self.pipeline and not self.expect_100_continue
        )

    def _begin(self) -> None:
        super().on_headers_complete()
        self._begun = True
        cycle = self.cycle
        cycle.keep_alive = cycle.keep_alive or self._keeps_old
        self._extensions[RESPOND] = partial(self._respond, cycle)
        self._extensions[WHOLE_BODY] = WholeBody(partial(self._gather, cycle))

    def _gather(self, cycle: RequestResponseCycle, whole: WholeBody) -> bytes | None:
        """From here on the cycle's body goes to `whole`; returned at once when all of it is there."""
        # What the cycle has is given away: it lives as long as its connection waits for the next request.
        body, cycle.body = bytes(cycle.body), bytearray()
        if cycle.disconnected:
            whole.lost()
        elif not cycle.more_body:
            return body
        elif whole.add(body):
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
        cycle = self._short_cycle()
        cycle.more_body = True
        self.cycle = cycle  # type: ignore[assignment]  # all that uvicorn asks of one
        status, headers, body = refusal
        if self._origins is not None:
            headers = [*headers, *self._origins.headers(self.headers)]
        self._respond(cycle, status, headers, body)
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
        cycle = self._short_cycle()
        ride = self._shortcut.send(head, self._short_body, partial(self._respond, cycle))
        if ride is None:
            return False
        self._short_body = b""
        # To uvicorn it is a request under way like any other: it is waited for, and what is pipelined waits for it.
        self.cycle = cycle  # type: ignore[assignment]
        self._hang_up.callback = ride.hang_up
        return True

    def _short_cycle(self) -> ShortCycle:
        scope = _OLD_POST if self._keeps_old else _POST
        return ShortCycle(scope, self.on_response_complete, keep_alive=self.parser.should_keep_alive())

    def _respond(self, cycle: RequestResponseCycle | ShortCycle, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer in one write, where two of uvicorn's messages would be two packets."""
        if cycle.disconnected or self.parser is None:
            return
        self._note_refusal(status, headers)
        head = self._head_of(cycle, status, headers)
        if cycle.scope["method"] != "HEAD":
            head.append(body)
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        self._hang_up.callback = None
        self.transport.write(b"".join(head))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._close(sending=cycle.more_body)
        cycle.on_response()

    def _head_of(self, cycle: RequestResponseCycle | ShortCycle, status: int, headers: Headers) -> list[bytes]:
        """The pieces of a head, and in `cycle.keep_alive` whether the connection goes on after it."""
        if self._stopping.asked or _undecided(cycle) or (self._reads_no_more and not self.pipeline):
            cycle.keep_alive = False
        head = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            if name == b"connection":
                cycle.keep_alive = cycle.keep_alive and value != b"close"
                continue
            head += (name, b": ", value, b"\r\n")
        if not cycle.keep_alive:
            head.append(CLOSE)
        elif cycle.scope["http_version"] == "1.0":
            head.append(KEEP_ALIVE)
        head.append(b"\r\n")
        return head

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
        if self._refused:
            return
        self._refused = True
        self._head_arrived()
        cycle = self.cycle
        if cycle is not None and not self._begun and not cycle.response_complete:
            return  # another request is being answered; that answer is the last on this connection
        if cycle is not None and self._begun:
            if self.pipeline:
                self.pipeline.popleft()  # the same
                return
            if cycle.response_started:
                cycle.keep_alive = False
                if cycle.response_complete:
                    self._close(sending=True)
                return
            cycle.disconnected = True
            cycle.message_event.set()
            self._given_up()
        request_id = secrets.token_hex(16)
        body = orjson.dumps({"error": code, "detail": detail, "request_id": request_id})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode("ascii")),
            (b"x-content-type-options", b"nosniff"),
        ]
        if self._origins is not None:
            headers += self._origins.headers(self.headers or ())
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"".join((STATUS_LINE[status], lines, CLOSE, b"\r\n", body)))
        self._close(sending=True)

    def _given_up(self) -> None:
        """Tells whoever works on a request of this connection that nobody waits for it."""
        if self._whole is not None:
            self._whole.lost()
            self._whole = None
        self._hang_up.happened()
        self._hang_up.callback = None

    def _close(self, *, sending: bool) -> None:
        """Closes once what was written is out; `sending` while the client may still send."""
        if self._linger is not None or self.transport.is_closing():
            return
        if not sending or self._eof:
            self.transport.close()
            return
        self._refused = True
        self.flow.resume_reading()
        self._linger = Linger(self.transport, self.loop)
