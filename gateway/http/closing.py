"""The end of a connection: a response to a client that still sends, and a client that sends no more."""

import asyncio
import select
import socket

# The client of a refused upload must read its response within these limits, or the connection is reset.
LINGER_S = 5.0
LINGER_BYTES = 128 << 20

# A client that is gone is noticed after FIRST_PROBE_S + REPLY_S at the earliest; most responses need less.
FIRST_PROBE_S = 0.3
REPLY_S = 0.1
LONGEST_PAUSE_S = 5.0

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def has_unread(transport: asyncio.Transport) -> bool:
    """Return True when bytes have arrived on the connection that the event loop has not read yet."""
    found: socket.socket | None = transport.get_extra_info("socket")
    if found is None or found.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(found.fileno(), select.POLLIN)
    return bool(poll.poll(0))


class Linger:
    """Closes a connection whose client still sends.

    It closes the sending half after the response and drops the bytes that still arrive. Unread bytes would make the
    kernel reset the closed connection, and a reset can overtake the response.
    """

    __slots__ = ("_left", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._left = LINGER_BYTES
        if transport.can_write_eof():
            transport.write_eof()
            self._timer: asyncio.Handle = loop.call_later(LINGER_S, transport.close)
        else:
            self._timer = loop.call_soon(transport.close)

    def drop(self, size: int) -> None:
        """Drop bytes; close the connection after too many of them."""
        self._left -= size
        if self._left < 0:
            self._transport.close()

    def end(self) -> None:
        """Forget the connection, which is closed."""
        self._timer.cancel()


class HalfClosed:
    """Detects whether a client that has stopped sending still waits for its response or has left.

    The machine of a client that has left answers bytes with a reset. So the probe sends the interim response 100, which
    every HTTP/1.1 client ignores. An HTTP/1.0 client does not know that response, and counts as waiting.
    """

    __slots__ = ("_loop", "_pause_s", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pause_s = FIRST_PROBE_S
        self._timer: asyncio.TimerHandle = loop.call_later(FIRST_PROBE_S, self._probe)

    def end(self) -> None:
        """Stop sending probes."""
        self._timer.cancel()

    def _probe(self) -> None:
        self._transport.write(CONTINUE)
        self._timer = self._loop.call_later(REPLY_S, self._judge)

    def _judge(self) -> None:
        found: socket.socket | None = self._transport.get_extra_info("socket")
        if found is not None and found.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._transport.abort()
            return
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        self._timer = self._loop.call_later(self._pause_s, self._probe)
