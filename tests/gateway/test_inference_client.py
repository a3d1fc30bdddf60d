"""The client of one engine host, between a key ring and connections that a test gives."""

import threading
from typing import cast

import pytest

from engines.torchserve.auth import KeyRing
from errors import EngineError, NoWorker
from gateway.metrics import Metrics
from gateway.tracing import NoTracer
from gateway.upstream.connections import ConnectionPool, RawResponse
from gateway.upstream.inference_client import InferenceClient
from tests.gateway.stage_parts import answer, request

pytestmark = pytest.mark.anyio

REFUSED = b'{"code": 400, "type": "InvalidKeyException", "message": "x"}'


class GivenKeys:
    """A key ring without tokens, or with these; it counts how often a thread reads them."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.reads = 0
        self.reader: threading.Thread | None = None

    def current(self, _: str) -> str | None:
        return self.tokens[0] if self.tokens else None

    def token(self, _: str) -> str:
        self.reads += 1
        self.reader = threading.current_thread()
        raise EngineError("no keys")

    def replace(self, _: str, __: str | None) -> bool:
        del self.tokens[:1]
        return bool(self.tokens)


class GivenConnections:
    """Connections that accept one token and keep the head of each request."""

    def __init__(self, accepted: str | None) -> None:
        self.accepted = accepted
        self.heads: list[str] = []

    async def acquire(self) -> "GivenConnections":
        return self

    def release(self, _: "GivenConnections") -> None:
        pass

    async def post(self, head: bytes, _: bytes) -> RawResponse:
        self.heads.append(head.decode())
        if self.accepted is not None and f"Bearer {self.accepted}\r\n" not in self.heads[-1]:
            return RawResponse(400, {}, REFUSED)
        return RawResponse(200, {b"content-type": b"application/json", b"x-model-version": b"1.0"}, answer(1).body)


def client(keys: GivenKeys, connections: GivenConnections) -> InferenceClient:
    pool = cast("ConnectionPool", connections)
    return InferenceClient("engine:8080", pool, cast("KeyRing", keys), Metrics(), NoTracer())


async def test_client_of_an_engine_without_tokens_reads_them_once_in_a_while() -> None:
    keys, connections = GivenKeys(), GivenConnections(None)
    made = client(keys, connections)
    for _ in range(5):
        assert await made.predict(request([1])) == answer(1)
    assert keys.reads == 1
    assert "Authorization" not in connections.heads[-1]


async def test_closed_client_ends_its_threads() -> None:
    keys = GivenKeys()
    made = client(keys, GivenConnections(None))
    await made.predict(request([1]))
    assert keys.reader is not None
    assert keys.reader.is_alive()
    made.close()
    keys.reader.join(10)
    assert not keys.reader.is_alive()


async def test_client_refused_token_is_replaced_once() -> None:
    connections = GivenConnections("new")
    assert await client(GivenKeys("old", "new"), connections).predict(request([1])) == answer(1)
    assert len(connections.heads) == 2


@pytest.mark.parametrize("tokens", [("old",), ("old", "older", "new")])
async def test_client_without_an_accepted_token_raises_no_worker(tokens: tuple[str, ...]) -> None:
    connections = GivenConnections("new")
    with pytest.raises(NoWorker, match="does not accept the gateway's key"):
        await client(GivenKeys(*tokens), connections).predict(request([1]))
    assert len(connections.heads) == min(2, len(tokens))
