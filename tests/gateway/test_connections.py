"""The gateway's own HTTP client against a server that says each thing an engine may say, and some that none should."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from gateway.upstream.connections import ConnectFailedError, ConnectionBrokeError, ConnectionPool, RawResponse, tcp
from tests.ports import free_port

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEAD = b"POST /predictions/digits HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nX-Model-Version: 1.0\r\nContent-Length: 2\r\n\r\nok"

pytestmark = pytest.mark.anyio


async def post(pool: ConnectionPool) -> RawResponse:
    """One request and its response."""
    connection = await pool.acquire()
    try:
        return await connection.post(HEAD, b"body")
    finally:
        pool.release(connection)


@asynccontextmanager
async def pool_to(
    handler: Handler, *, limit: int = 8, keepalive_s: float = 30
) -> AsyncIterator[tuple[ConnectionPool, list[int]]]:
    """A pool to a server whose connections `handler` answers, and the numbers of those it accepted."""
    accepted: list[int] = []
    async with served(handler, accepted) as serve:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        pool = ConnectionPool(tcp("127.0.0.1", port), limit=limit, keepalive_s=keepalive_s, connect_timeout_s=2)
        try:
            yield pool, accepted
        finally:
            pool.close()
            server.close()


@asynccontextmanager
async def served(handler: Handler, accepted: list[int]) -> AsyncIterator[Handler]:
    """What a server calls for each connection; all of them are over at the end."""
    tasks: list[asyncio.Future[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(len(accepted))
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tasks.append(over)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await handler(reader, writer)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        finally:
            over.set_result(None)

    yield serve
    await asyncio.gather(*tasks)


def always(answer: bytes) -> Handler:
    """Says the same to each request."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readexactly(len(HEAD) + 4)
            writer.write(answer)

    return handler


async def test_pool_keeps_a_connection_for_the_next_request() -> None:
    async with pool_to(always(OK)) as (pool, accepted):
        for _ in range(5):
            answer = await post(pool)
            assert (answer.status, answer.body, answer.headers[b"x-model-version"]) == (200, b"ok", b"1.0")
        assert accepted == [0]


async def test_connection_reads_chunks_and_interim_responses() -> None:
    chunked = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with pool_to(always(chunked + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")) as (pool, accepted):
        assert [(await post(pool)).body for _ in range(2)] == [b"abcde", b"abcde"]
        assert accepted == [0]


async def test_connection_close_response_is_whole_and_next_opens_another() -> None:
    closing = b"HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno"
    async with pool_to(always(closing)) as (pool, accepted):
        assert [(await post(pool)).status for _ in range(2)] == [503, 503]
        assert len(accepted) == 2


@pytest.mark.parametrize("said", [b"", OK[:-1], b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-x\r\n\r\n"])
async def test_connection_partial_response_raises_connection_broke(said: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(HEAD) + 4)
        writer.write(said)
        await writer.drain()

    async with pool_to(handler) as (pool, _):
        with pytest.raises(ConnectionBrokeError):
            await post(pool)


async def test_connection_two_responses_raise_connection_broke() -> None:
    async with pool_to(always(OK + OK)) as (pool, _):
        with pytest.raises(ConnectionBrokeError):
            await post(pool)


async def test_pool_without_listener_raises_connect_failed() -> None:
    with pytest.raises(ConnectFailedError):
        await post(ConnectionPool(tcp("127.0.0.1", free_port()), limit=1, keepalive_s=30, connect_timeout_s=2))


async def test_pool_cancelled_request_closes_its_connection() -> None:
    silent, arrived = True, asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(HEAD) + 4)
        arrived.set()
        if silent:
            await reader.read()
        writer.write(OK)

    async with pool_to(handler, limit=1) as (pool, accepted):
        first = asyncio.create_task(post(pool))
        await arrived.wait()
        second, third = (asyncio.create_task(post(pool)) for _ in range(2))
        await asyncio.sleep(0)
        second.cancel()
        silent = False
        first.cancel()
        assert (await third).body == b"ok"
        assert len(accepted) == 2
        assert first.cancelled()
        assert second.cancelled()


async def test_pool_closes_connections_idle_too_long() -> None:
    async with pool_to(always(OK), keepalive_s=0) as (pool, accepted):
        await post(pool)
        await asyncio.sleep(0.01)
        await post(pool)
        assert len(accepted) == 2
