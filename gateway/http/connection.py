"""A connection's responses: written in one piece, and closed so that the client gets the last one.

`protocol.ClientConnection` reads the requests of the same connection.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from errors import OverCapacity, RequestError
from gateway.early_refusal import EarlyRefusal
from gateway.fast_path import FastPath
from gateway.http.backoff import EarlyReturns, retry_after_s
from gateway.http.body import WholeBody
from gateway.http.closing import HalfClosed, Linger
from gateway.http.deadline import Disconnect
from gateway.http.request_head import HeadError
from gateway.http.responses import CommonHeaders, HttpResponse, error_response, response_head
from gateway.shutdown import Shutdown
from settings.schema import GatewaySettings

CLOSE, KEEP_ALIVE = b"connection: close\r\n", b"connection: keep-alive\r\n"


@dataclass(frozen=True, slots=True)
class ConnectionServices:
    """The objects that all connections share; the application's lifespan puts them into its state."""

    gateway: GatewaySettings
    shutdown: Shutdown
    common: CommonHeaders
    fast_path: FastPath | None
    early_refusal: EarlyRefusal | None


class _NoEvent:
    """A no-op event that nobody waits for."""

    def set(self) -> None:
        """Do nothing, because nobody waits."""


class FastCycle:
    """A substitute for uvicorn's request cycle when the application does not answer the request."""

    __slots__ = (
        "disconnected", "keep_alive", "message_event", "more_body", "on_response", "response_complete",
        "response_started", "scope", "waiting_for_100_continue",
    )  # fmt: skip

    def __init__(self, version: str, on_response: Callable[[], None], *, keep_alive: bool) -> None:
        self.scope = _POSTS[version]
        self.keep_alive = keep_alive
        self.on_response = on_response
        self.message_event = _NO_EVENT
        self.more_body = self.disconnected = self.waiting_for_100_continue = False
        self.response_started = self.response_complete = False


_NO_EVENT = _NoEvent()
_POSTS: dict[str, dict[str, Any]] = {each: {"method": "POST", "http_version": each} for each in ("1.0", "1.1")}

Cycle = RequestResponseCycle | FastCycle


class RespondingConnection(HttpToolsProtocol):
    """A connection that answers the requests that its subclass reads."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._services: ConnectionServices = self.app_state["connection"]
        self._has_begun = False  # True when the arriving bytes belong to a request of the application
        self._whole: WholeBody | None = None
        self._early_returns: EarlyReturns | None = None
        self._is_refused = False
        self._has_eof = False
        self._linger: Linger | None = None
        self._half_closed: HalfClosed | None = None
        self._disconnect = Disconnect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the work for a client that is gone, and drop references back to the connection."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._report_disconnect()
        for ended in (self._linger, self._half_closed):
            if ended is not None:
                ended.end()
        self.pipeline.clear()
        self.cycle = self.scope = self._linger = self._half_closed = None  # type: ignore[assignment]

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's own may return it, uvicorn's never does
        """Note that the client sends no more; return True while it still waits for a response."""
        self._has_eof = True
        if self._is_refused or not self._owes_response():
            return False
        if self._half_closed is None and self.scope["http_version"] != "1.0":
            self._half_closed = HalfClosed(self.transport, self.loop)
        return True

    def on_response_complete(self) -> None:
        """Go on with the next request, or close a connection on which nothing more is read."""
        if self._linger is not None:
            self.server_state.total_requests += 1
            return
        is_last = self._reads_no_more and not self.pipeline
        super().on_response_complete()
        if is_last:
            self._close(sending=self._is_refused)

    def _respond(self, cycle: Cycle, response: HttpResponse) -> None:
        """Write a whole response at once; uvicorn's two messages would become two packets."""
        if cycle.disconnected or self.parser is None:
            return
        self._note_refusal(response)
        if self._services.shutdown.requested or _is_undecided(cycle) or (self._reads_no_more and not self.pipeline):
            cycle.keep_alive = False
        if (b"connection", b"close") in response.headers:
            cycle.keep_alive = False
        pieces = response_head(response.status, (*self.server_state.default_headers, *response.headers))
        if not cycle.keep_alive:
            pieces.append(CLOSE)
        elif cycle.scope["http_version"] == "1.0":
            pieces.append(KEEP_ALIVE)
        pieces.append(b"\r\n")
        if cycle.scope["method"] != "HEAD":
            pieces.append(response.body)
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        self._disconnect.callback = None
        self.transport.write(b"".join(pieces))
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._close(sending=cycle.more_body)
        cycle.on_response()

    def _note_refusal(self, response: HttpResponse) -> None:
        """Note a refusal, after which the client may return too early, or that it has been answered."""
        after_s = retry_after_s(response.status, self.headers, response.headers)
        if after_s is not None:
            self._early_returns = self._early_returns or EarlyReturns()
            method, grows = self.parser.get_method(), response.status == OverCapacity.status
            self._early_returns.refused(method, self.url, after_s, self.loop.time(), grows=grows)
        elif response.status < 400:
            self._early_returns = None

    def _refuse(self, error: HeadError) -> None:
        """Answer instead of the application, which never got a whole request, and close the connection."""
        if self._is_refused:
            return
        self._is_refused = True
        if self._answers_another():
            return
        request_id = secrets.token_hex(16)
        response = error_response(_request_error(error), request_id)
        response.headers.extend(self._services.common.of(request_id, self.headers or ()))
        pieces = response_head(response.status, response.headers)
        self.transport.write(b"".join((*pieces, CLOSE, b"\r\n", response.body)))
        self._close(sending=True)

    def _answers_another(self) -> bool:
        """Return True when an earlier response is, or was, the last one on this connection."""
        cycle = self.cycle
        if cycle is None or (not self._has_begun and cycle.response_complete):
            return False
        if not self._has_begun:
            return True
        if self.pipeline:
            self.pipeline.popleft()
            return True
        if cycle.response_started:
            cycle.keep_alive = False
            if cycle.response_complete:
                self._close(sending=True)
            return True
        cycle.disconnected = True
        cycle.message_event.set()
        self._report_disconnect()
        return False

    @property
    def _reads_no_more(self) -> bool:
        return self._has_eof or self._is_refused

    def _owes_response(self) -> bool:
        """Return True when a request came whole and has no response yet; one that did not come whole is dropped."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        if cycle.more_body and self.pipeline:
            self.pipeline.popleft()
            return True
        return not cycle.more_body

    def _report_disconnect(self) -> None:
        """Signal to the work for this connection's requests that the client is gone."""
        if self._whole is not None:
            self._whole.lost()
            self._whole = None
        self._disconnect.report()
        self._disconnect.callback = None

    def _close(self, *, sending: bool) -> None:
        """Close once all output is sent; `sending` is True while the client may still send."""
        if self._linger is not None or self.transport.is_closing():
            return
        if not sending or self._has_eof:
            self.transport.close()
            return
        self._is_refused = True
        self.flow.resume_reading()
        self._linger = Linger(self.transport, self.loop)


def _is_undecided(cycle: Cycle) -> bool:
    """Return True when a client waits for `100 Continue` and may still send its body after the response."""
    return cycle.waiting_for_100_continue and cycle.more_body


def _request_error(found: HeadError) -> RequestError:
    error = RequestError(found.detail)
    error.status, error.code = found.status, found.code
    return error
