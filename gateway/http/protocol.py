"""One connection of a client: uvicorn's HTTP protocol with limits on heads, early answers and whole responses.

    bytes ──▶ head ──▶ wrong, too large, too slow ──▶ error, and the connection closes
                │
                ├──▶ model over capacity ──▶ 429 from the head alone
                ├──▶ one observation ──▶ fast path ──▶ response
                └──▶ ASGI application ──▶ response

The base class in `connection` writes the responses.
"""

import asyncio
from functools import partial
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from gateway.early_refusal import EarlyRefusal
from gateway.fast_path import FastHead
from gateway.http.backoff import HeldRequest
from gateway.http.body import WHOLE_BODY, WholeBody
from gateway.http.closing import has_unread
from gateway.http.connection import FastCycle, RespondingConnection
from gateway.http.deadline import DISCONNECT
from gateway.http.request_head import UNREADABLE, HeadError, RequestHead, use_authority, without_upgrade
from gateway.http.responses import RESPOND
from gateway.security import is_loopback


class ClientConnection(RespondingConnection):
    """One connection of a client."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        security = self._services.gateway.security
        self._fast_path = self._services.fast_path
        self._early_refusal = self._services.early_refusal
        self._max_head = security.max_header_bytes
        self._head_timeout_s = security.head_timeout_s
        self._head = RequestHead(self._max_head)
        self._in_head = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._in_message = False
        self._is_upgrading = False
        self._keeps_old = False
        self._fast_head: FastHead | None = None
        self._fast_body = b""
        self._held: HeldRequest | None = None
        self._extensions: dict[str, Any] = {}

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn's own
        """Wait for the first request, which must arrive in time."""
        super().connection_made(transport)
        if self.server is None or not (self._services.gateway.insecure or is_loopback(self.server[0])):
            self._fast_path = self._early_refusal = None  # the application refuses it
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting for requests."""
        self._stop_head_timer()
        if self._held is not None:
            self._held.drop()
        self._held = None
        super().connection_lost(exc)
        self._extensions = {}

    def shutdown(self) -> None:
        """Answer the held request, and shut down as uvicorn does; answer a request that is just arriving first."""
        self._services.shutdown.requested = True  # so that each response closes its connection
        if self._held is not None:
            self._held.release()
        if self._is_alone() and (self._in_message or has_unread(self.transport)):
            return
        super().shutdown()

    # Bytes of requests.

    def data_received(self, data: bytes) -> None:
        """Read bytes of requests; drop them on a connection that was refused."""
        if self._is_refused:
            if self._linger is not None:
                self._linger.drop(len(data))
            return
        if self._early_returns is not None and not self._in_message and self._is_alone():
            hold_s = self._early_returns.hold_s(data, self.loop.time())
            if hold_s > 0:
                self._unset_keepalive_if_required()
                self.flow.pause_reading()
                self._held = HeldRequest(data, hold_s, self._read_held, self.loop)
                return
        self._read(data)

    def _read_held(self, data: bytes) -> None:
        self._held = None
        self.flow.resume_reading()
        self._read(data)

    def _read(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(UNREADABLE)
            return
        if self._fast_head is not None:
            self._leave_fast_path()  # only part of the body has arrived, and the application can wait for the rest
        if self._in_head and self._head_timer is None and not self._is_refused:
            self._expect_head()

    def _parse(self, data: bytes) -> None:
        """Parse bytes. A request to switch the protocol is parsed again without its `Upgrade` header.

        The parser itself treats all bytes after such a head as the other protocol.
        """
        rest = memoryview(data)
        while not self._is_refused:
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
            if not self._is_upgrading:
                return  # CONNECT was refused
            self._is_upgrading = False
            method, version = self.parser.get_method(), self.parser.get_http_version()
            head = without_upgrade(method, self.url, version, self.headers)
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(head)

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        """Start a new request."""
        super().on_message_begin()
        self._head = RequestHead(self._max_head)
        self._in_head = self._in_message = True
        self._has_begun = False
        self._extensions = {DISCONNECT: self._disconnect}
        self.scope["extensions"] = self._extensions

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer behind a body in chunks, which counts as well."""
        self._count(len(name) + len(value) + 4)
        name = name.lower()
        self._head.check_header(name, value)
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Choose who answers the request; `_parse` handles `Upgrade`."""
        self._in_head = False
        self._stop_head_timer()
        if self._is_refused or not self._accepts(self._head):
            return
        if self.parser.should_upgrade():
            self._is_upgrading = True
            return
        if self.parser.get_method() == b"POST" and self._is_alone():
            if self._early_refusal is not None and self._refuse_early(self._early_refusal):
                return
            if self._fast_path is not None:
                self._fast_head = self._fast_path.head(self.url, self.headers)
        if self._fast_head is None:
            self._begin()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if self._fast_head is not None:
            self._fast_body += body
        elif self._whole is not None:
            if not self._whole.add(body):
                self._whole = None
        elif not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Finish reading the request."""
        self._in_message = False
        if self._is_upgrading:
            return
        if self._fast_head is not None:
            head, self._fast_head = self._fast_head, None
            if self._send_fast(head):
                return
            self._leave_fast_path()
        if not self._is_refused:
            super().on_message_complete()
        if self._whole is not None:
            self._whole.end()
            self._whole = None
        self._has_begun = False

    # The head.

    def _accepts(self, head: RequestHead) -> bool:
        version, method = self.parser.get_http_version(), self.parser.get_method()
        error = head.complete(method, version)
        self._keeps_old = version == "1.0" and self.parser.should_keep_alive()
        self.expect_100_continue = head.expects_continue
        if self.url[:1] != b"/":
            use_authority(self.url, self.headers)
        if error is not None:
            self._refuse(error)
        return error is None

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self._head_timeout_s, self._head_too_slow)

    def _refuse(self, error: HeadError) -> None:
        self._stop_head_timer()
        super()._refuse(error)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_too_slow(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            detail = f"the head of the request did not arrive within {self._head_timeout_s:g} s"
            self._refuse(HeadError(408, "request_timeout", detail))

    def _count(self, size: int) -> None:
        if not self._head.count(size) and not self._is_refused:
            self._refuse(self._head.too_large())

    # Who answers: the application, the fast path, or a refusal from the head alone.

    def _is_alone(self) -> bool:
        """Return True when no other request is under way on this connection."""
        return (
            (self.cycle is None or self.cycle.response_complete) and not self.pipeline and not self.expect_100_continue
        )

    def _begin(self) -> None:
        super().on_headers_complete()
        self._has_begun = True
        cycle = self.cycle
        cycle.keep_alive = cycle.keep_alive or self._keeps_old
        self._extensions[RESPOND] = partial(self._respond, cycle)
        self._extensions[WHOLE_BODY] = WholeBody(partial(self._begin_body, cycle))

    def _begin_body(self, cycle: RequestResponseCycle, whole: WholeBody) -> bytes | None:
        """Deliver the cycle's body to `whole` from now on; return it at once when all of it has arrived."""
        # Clear the cycle's copy, because the cycle lives until the connection's next request.
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

    def _send_fast(self, head: FastHead) -> bool:
        assert self._fast_path is not None
        cycle = self._fast_cycle()
        sent = self._fast_path.send(head, self._fast_body, partial(self._respond, cycle))
        if sent is None:
            return False
        self._fast_body = b""
        # Uvicorn treats it like any request: a shutdown waits for it, and so do pipelined requests.
        self.cycle = cycle  # type: ignore[assignment]
        self._disconnect.callback = sent.disconnected
        return True

    def _leave_fast_path(self) -> None:
        """Give the request to the application, with what has arrived of its body."""
        self._fast_head, body, self._fast_body = None, self._fast_body, b""
        self._begin()
        if body:
            super().on_body(body)

    def _refuse_early(self, early_refusal: EarlyRefusal) -> bool:
        """Answer 429 where there is no slot; the body is dropped as it comes, because the response is complete."""
        refusal = early_refusal.response(self.url, self.headers, self.loop.time())
        if refusal is None:
            return False
        cycle = self._fast_cycle()
        cycle.more_body = True
        self.cycle = cycle  # type: ignore[assignment]  # it has everything that uvicorn uses
        self._respond(cycle, refusal)
        return True

    def _fast_cycle(self) -> FastCycle:
        version = "1.0" if self._keeps_old else "1.1"
        return FastCycle(version, self.on_response_complete, keep_alive=self.parser.should_keep_alive())
