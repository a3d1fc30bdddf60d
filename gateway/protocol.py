"""Uvicorn's HTTP protocol with limits on the head of a request, and with its own errors in our shape."""

import asyncio
import secrets
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.hang_up import EXTENSION, HangUp

if TYPE_CHECKING:
    from gateway.services import Services

Headers = Sequence[tuple[bytes, bytes]]

RESPOND = "marina.respond"
REQUEST_LINE_ROOM = 16  # method, spaces and version beside the path


class Protocol(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        services: Services = self.app_state["services"]
        security = services.settings.gateway.security
        self._max_head = security.max_header_bytes
        self._head_timeout_s = security.head_timeout_s
        self._head_timer: asyncio.TimerHandle | None = None
        self._head = 0
        self._refused = False
        self._hang_up = HangUp()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn's own
        """A client is there; it has a while to say what it wants."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, and whoever works for it stops."""
        self._head_arrived()
        super().connection_lost(exc)
        self._hang_up.happened()

    def data_received(self, data: bytes) -> None:
        """Bytes of requests; nothing more is read on a connection that was refused."""
        if not self._refused:
            super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head = REQUEST_LINE_ROOM
        if self._head_timer is None:
            self._expect_head()
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
        self._head_arrived()
        if not self._refused:
            super().on_headers_complete()
            self._extensions[RESPOND] = partial(self._respond, self.cycle)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole request is there."""
        if not self._refused:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is told so: a head, or a body whose request has no answer yet."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not (cycle.more_body and not cycle.response_started):
            # Another request is being answered; that answer is the last on this connection.
            cycle.keep_alive = False
            self._refused = True
            return
        self._refuse(400, "unreadable_input", "this is not a valid HTTP request")

    def _respond(self, cycle: RequestResponseCycle, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer in one write, where two of uvicorn's messages would be two packets."""
        if cycle.disconnected:
            return
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
