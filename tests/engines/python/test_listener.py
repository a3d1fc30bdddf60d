"""The Front's own port: it answers, shares the port with its like only, and leaves no request without an answer."""

import asyncio
import socket
from typing import Any

import aiohttp
import pytest

from engines.python.frontend import ListenAddress, Listener
from tests.ports import free_port

pytestmark = pytest.mark.anyio


@pytest.fixture
def address() -> ListenAddress:
    return ListenAddress("127.0.0.1", free_port())


class Application:
    """Answers with the body that it got, once it may."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.asked.set()
        await self.may_answer.wait()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def ask(address: ListenAddress, body: bytes) -> tuple[int, bytes]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{address.host}:{address.port}/predictions/x", data=body) as answer,
    ):
        return answer.status, await answer.read()


async def test_listener_large_body_is_answered_whole(address: ListenAddress) -> None:
    application = Application()
    application.may_answer.set()
    listener = Listener(address, application)
    listener.start()
    body = bytes(range(256)) * 4096
    assert await ask(address, body) == (200, body)
    await listener.stop()


async def test_listener_stop_answers_requests_in_flight_and_frees_the_port(address: ListenAddress) -> None:
    application = Application()
    listener = Listener(address, application)
    listener.start()
    asking = asyncio.create_task(ask(address, b"in flight"))
    await application.asked.wait()
    stopping = asyncio.create_task(listener.stop())
    await asyncio.sleep(0)
    application.may_answer.set()
    assert await asking == (200, b"in flight")
    await stopping
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(address, b"too late")
    with socket.socket() as next_owner:
        next_owner.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        next_owner.bind((address.host, address.port))


async def test_listener_shares_its_port_with_listeners_only(address: ListenAddress) -> None:
    application = Application()
    application.may_answer.set()
    with socket.socket() as stranger:
        stranger.bind((address.host, address.port))
        stranger.listen()
        with pytest.raises(OSError, match="in use"):
            Listener(address, application)
    first, second = Listener(address, application), Listener(address, application)
    first.start()
    second.start()
    await first.stop()
    assert await ask(address, b"the second one is there") == (200, b"the second one is there")
    await second.stop()
