"""HTTP/1.1 to the engine in as few steps as a prediction needs: one POST, one response, pooled connections.

It understands as much as TorchServe sends: bodies with a length or in chunks, keep-alive or `Connection: close`. It
follows no redirects, decompresses nothing and keeps no cookies; a general client spends most of its time on such.
`docs/performance.md` has the measurement.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

import httptools

from settings.schema import GatewaySettings

Connect = Callable[[Callable[[], "Connection"]], Awaitable["Connection"]]
"""Opens a connection that the given function makes; raises OSError."""


class ConnectFailedError(Exception):
    """No connection could be opened in time, so no byte of the request was sent."""


class ConnectionBrokeError(Exception):
    """The connection ended before the response was whole, or the response was not HTTP."""


@dataclass(frozen=True, slots=True)
class RawResponse:
    """A whole response of the engine; names of headers in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes = field(repr=False)


class Connection(asyncio.Protocol):
    """One connection, with one request on it at a time."""

    def __init__(self, lost: Callable[["Connection"], None]) -> None:
        self.idle_since = 0.0
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[RawResponse] | None = None
        self._whole: RawResponse | None = None
        self._parser: httptools.HttpResponseParser | None = None

    @property
    def is_open(self) -> bool:
        """True while another request may be sent on it."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for requests."""
        # uvloop's transports do not derive from it, but have all its methods.
        self._transport = cast("asyncio.Transport", transport)

    async def post(self, head: bytes, body: bytes) -> RawResponse:
        """Send a request and return its response; a caller that is cancelled closes the connection.

        `head` ends with the empty line in front of the body. Raises ConnectionBrokeError.
        """
        if not self.is_open or self._transport is None:
            raise ConnectionBrokeError("closed while it was idle")
        self._waiter = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        try:
            self._transport.writelines((head, body))
            return await self._waiter
        except BaseException:
            self.close()
            raise
        finally:
            self._waiter = None
            self._pieces = []

    def close(self) -> None:
        """Close it at once and ignore a response that still arrives."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse bytes of a response; close the connection when no request waits for them."""
        if self._waiter is None or self._waiter.done() or self._parser is None:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._whole = None
            self._fail(f"not HTTP: {type(error).__name__}")
            return
        if self._whole is not None:
            response, self._whole = self._whole, None
            self._waiter.set_result(response)

    def on_message_begin(self) -> None:
        """Refuse a second response to the same request; the parser reports the error."""
        if self._whole is not None:
            raise ValueError

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; of several with one name the last counts."""
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """Complete the response, unless it is an interim one that another follows."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status < 200:
            self._headers, self._pieces = {}, []
            return
        if self._transport is not None and not self._parser.should_keep_alive():
            self._transport.close()
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._whole = RawResponse(status, self._headers, body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that waits, and leave the pool."""
        self._fail("closed" if exc is None else type(exc).__name__)
        self._lost(self)
        # Each refers back to this object: left, only the garbage collector would free them.
        self._parser = self._transport = None

    def _fail(self, reason: str) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionBrokeError(reason))


class ConnectionPool:
    """Keep-alive connections to one address, at most `limit`; beyond it requests wait in order of arrival."""

    def __init__(self, connect: Connect, *, limit: int, keepalive_s: float, connect_timeout_s: float) -> None:
        self._connect = connect
        self._limit = limit
        self._keepalive_s = keepalive_s
        self._connect_timeout_s = connect_timeout_s
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> Connection:
        """Return a connection for one request, to be released afterwards. Raises ConnectFailedError."""
        if self._taken >= self._limit or self._waiting:
            await self._wait()
        else:
            self._taken += 1
        try:
            return self._warm() or await self._new()
        except BaseException:
            self._hand_on()
            raise

    def release(self, connection: Connection) -> None:
        """Take a connection back; one that is still open is kept for the next request."""
        if connection.is_open:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        self._hand_on()

    def close(self) -> None:
        """Close all connections of the pool."""
        for connection in list(self._open):
            connection.close()

    def _warm(self) -> Connection | None:
        """Return the connection that was used last; close those that were idle for too long."""
        oldest = asyncio.get_running_loop().time() - self._keepalive_s
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.popleft().close()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    async def _new(self) -> Connection:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                connection = await self._connect(lambda: Connection(self._gone))
        except OSError as error:  # TimeoutError is one
            raise ConnectFailedError(type(error).__name__) from error
        self._open.add(connection)
        return connection

    def _gone(self, connection: Connection) -> None:
        self._open.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            # The turn may have come at the very moment of the cancellation.
            if turn.done() and not turn.cancelled():
                self._hand_on()
            raise

    def _hand_on(self) -> None:
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():
                first.set_result(None)
                return
        self._taken -= 1


def tcp(host: str, port: int) -> Connect:
    """Return a function that connects over TCP."""

    async def connect(make: Callable[[], Connection]) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(make, host, port)
        return connection

    return connect


def open_pool(gateway: GatewaySettings, host: str, port: int) -> ConnectionPool:
    """Return a pool of connections for predictions; each request's own deadline ends it."""
    return ConnectionPool(
        tcp(host, port),
        limit=gateway.upstream_connections,
        keepalive_s=gateway.upstream_keepalive_s,
        connect_timeout_s=gateway.connect_timeout_s,
    )
