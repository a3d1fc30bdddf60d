"""The end of a connection: an answer that must arrive although the client still sends, a client that sends no more."""

import asyncio
import socket

# A client of a refused upload reads its answer within these, or finds the connection reset.
LINGER_S = 5.0
LINGER_BYTES = 128 << 20

# A client that is gone is noticed after FIRST_LOOK_S + REPLY_S at the earliest; most answers need less.
FIRST_LOOK_S = 0.3
REPLY_S = 0.1
LONGEST_PAUSE_S = 5.0

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Linger:
    """Closes a connection whose client still sends.

    What was written is ended with the connection's sending half, and what still comes is thrown away: bytes that
    nobody reads make the kernel reset a closed connection, and a reset overtakes the answer.
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
        """Throws bytes away; after too many of them the connection is closed."""
        self._left -= size
        if self._left < 0:
            self._transport.close()

    def end(self) -> None:
        """Forget the connection, which is closed."""
        self._timer.cancel()


class HalfClosed:
    """Looks after a client that has sent all it will send and waits for its answer, or has left: both look the same.

    Bytes to a client that left are answered by a reset, so it is sent what every client of HTTP/1.1 ignores: the
    interim response 100. One of HTTP/1.0 must not be sent that, and is believed to wait.
    """

    __slots__ = ("_loop", "_pause_s", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pause_s = FIRST_LOOK_S
        self._timer: asyncio.TimerHandle = loop.call_later(FIRST_LOOK_S, self._ask)

    def end(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _ask(self) -> None:
        self._transport.write(CONTINUE)
        self._timer = self._loop.call_later(REPLY_S, self._judge)

    def _judge(self) -> None:
        found: socket.socket | None = self._transport.get_extra_info("socket")
        if found is not None and found.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._transport.abort()
            return
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        self._timer = self._loop.call_later(self._pause_s, self._ask)
