"""The Frontend: TorchServe's Inference API as a bare ASGI application, on a port of its own or behind a proxy.

    GET  /ping
    POST /predictions/{model}[/{version}]      (PUT and GET as well, as in TorchServe)
    POST /explanations/{model}[/{version}]

It uses no framework, which would cost more processor time than everything here. Bodies are forwarded as bytes.
"""

import asyncio
import math
import socket
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import unquote

import uvicorn

from engines.python.messages import (
    JSON,
    ErrorResponse,
    Headers,
    InferenceRequest,
    InferenceResponse,
    InvalidKeyException,
    MethodNotAllowedException,
    ModelNotFoundException,
    ModelVersionNotFoundException,
    RequestEntityTooLargeException,
    ResourceNotFoundException,
)
from engines.python.process_setup import freeze_memory, keep_memory, log_replica
from engines.python.registry import ModelRegistry, RegisteredVersion
from engines.python.tokens import TokenSigner, bearer
from engines.python.version_queue import VersionQueue

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

HEALTHY = b'{\n  "status": "Healthy"\n}\n'
EXPLANATIONS: Headers = (("explain", "True"),)
METHODS = {"POST", "PUT", "GET", "OPTIONS"}

KEEP_ALIVE_S = 3600
STOP_S = 15
BACKLOG = 2048


@dataclass(frozen=True)
class FrontendLimits:
    """Limits of a body in bytes, of one version's requests, and of the seconds that a removed version has to drain."""

    body: int
    queue: int
    drain_s: float

    @classmethod
    def each(cls, frontends: int, body: int, queue: int, drain_s: float) -> Self:
        """Return the limits of one of several Frontends, which share the size of the queue."""
        return cls(body, math.ceil(queue / frontends), drain_s)


@dataclass(frozen=True)
class ListenAddress:
    """Host and port on which a Frontend listens."""

    host: str
    port: int


class ClientHungUp(Exception):
    """The client has closed the connection, so no response can reach it."""


class Frontend(ABC):
    """Follows the registry, and has a queue of requests for each version."""

    def __init__(self, limits: FrontendLimits, address: ListenAddress | None = None) -> None:
        """Without an address, requests come through a proxy."""
        keep_memory()
        log_replica()
        self._limits = limits
        self._address = address
        self._listener: Listener | None = None
        self._registry = ModelRegistry()
        self._signer = TokenSigner(b"")
        self._queues: dict[tuple[str, str], VersionQueue] = {}
        self._checked = ""  # the last accepted Authorization header, which is accepted until `_checked_until`
        self._checked_until = 0.0

    @abstractmethod
    def _open_queue(self, version: RegisteredVersion, queue_size: int) -> VersionQueue:
        """Return the queue of a version, whose batches go to its workers."""

    async def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Take over a new registry; return when every request to a removed version has been answered."""
        self._signer, self._checked = TokenSigner(bytes.fromhex(config["secret"])), ""
        registry = ModelRegistry.from_json(config["table"])
        queues: dict[tuple[str, str], VersionQueue] = {}
        for entry in registry.entries:
            known = self._queues.get(entry.key)
            if known is not None and known.version.registration == entry.registration:
                known.resize(entry)
                queues[entry.key] = known
            else:
                queues[entry.key] = self._open_queue(entry, self._limits.queue)
        gone = [each for key, each in self._queues.items() if queues.get(key) is not each or each.workers == 0]
        # There is no await from here on, so requests see either the old registry or the new one.
        self._registry, self._queues = registry, queues
        if self._address is not None and self._listener is None:
            self._listener = Listener(self._address, self.answer)
            self._listener.start()
            freeze_memory()
        await asyncio.gather(*(queue.wait_until_empty(self._limits.drain_s) for queue in gone))

    async def stop(self) -> None:
        """Close the port after the last response."""
        if self._listener is not None:
            await self._listener.stop()

    async def report(self) -> dict[str, Any]:
        """Return the registry that the Frontend follows, and the requests inside and the counts of each version."""
        return {
            "table": self._registry.as_json(),
            "lines": {
                key: {"inside": queue.inside, "counts": queue.counts.as_values()} for key, queue in self._queues.items()
            },
        }

    async def answer(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        try:
            response = await self._respond(scope, receive)
        except ClientHungUp:
            return
        except ErrorResponse as error:
            response = InferenceResponse.of_error(error)
        await send(
            {
                "type": "http.response.start",
                "status": response.status,
                "headers": [
                    *((name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers),
                    (b"content-length", str(len(response.body)).encode()),
                ],
            }
        )
        await send({"type": "http.response.body", "body": response.body})

    async def _respond(self, scope: Mapping[str, Any], receive: Receive) -> InferenceResponse:
        parts = scope["path"].split("/")[1:]
        if parts == ["ping"]:
            return InferenceResponse(200, JSON, HEALTHY)
        if parts[0] not in ("predictions", "explanations") or len(parts) not in (2, 3) or not parts[1]:
            raise ResourceNotFoundException
        if scope["method"] not in METHODS:
            raise MethodNotAllowedException
        headers: Headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        by_name = dict(headers)
        self._check_key(by_name.get("authorization", ""))
        queue = self._queue_of(*parts[1:])
        body = await self._read_body(by_name, receive)
        more = EXPLANATIONS if parts[0] == "explanations" else ()
        query = scope.get("query_string", b"").decode("latin-1")
        request_id = by_name.get("x-request-id") or uuid.uuid4().hex
        request = InferenceRequest(request_id, (*headers, *more), query, body)
        return await until_hang_up(queue.answer(request), receive)

    def _queue_of(self, model: str, version: str | None = None) -> VersionQueue:
        model, version = unquote(model), unquote(version) if version else None
        wanted = version or self._registry.defaults.get(model)
        if wanted is None:
            raise ModelNotFoundException(model)
        queue = self._queues.get((model, wanted))
        if queue is None and model not in self._registry.defaults:
            raise ModelNotFoundException(model)
        if queue is None:
            raise ModelVersionNotFoundException(model, wanted)
        return queue

    def _check_key(self, header: str) -> None:
        # A gateway sends the same token for an hour, so it is checked once a second.
        now = time.time()
        if header and header == self._checked and now < self._checked_until:
            return
        if not self._signer.accepts("inference", bearer(header), now):
            raise InvalidKeyException
        self._checked, self._checked_until = header, now + 1

    async def _read_body(self, headers: Mapping[str, str], receive: Receive) -> bytes:
        if int(headers.get("content-length") or 0) > self._limits.body:
            raise RequestEntityTooLargeException(f"the body is larger than {self._limits.body} bytes")
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientHungUp
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > self._limits.body:
                raise RequestEntityTooLargeException(f"the body is larger than {self._limits.body} bytes")
            if not message.get("more_body"):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def until_hang_up(answering: Coroutine[Any, Any, InferenceResponse], receive: Receive) -> InferenceResponse:
    """Return the response to a request whose body has been read; cancel it when its client hangs up.

    Raises ClientHungUp then.
    """
    task = asyncio.current_task()
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        if task is not None:
            task.cancel()

    watching = asyncio.create_task(watch())
    try:
        return await answering
    except asyncio.CancelledError:
        if not gone or task is None or task.uncancel() > 0:
            raise
        raise ClientHungUp from None
    finally:
        watching.cancel()


class Listener:
    """An HTTP server inside the running event loop, on a port that the Frontends of a machine share."""

    def __init__(self, address: ListenAddress, application: Any) -> None:
        """Take the port for an ASGI application, which gets HTTP requests only.

        Raises OSError when another program has the port.
        """
        self._socket = _bound(address)
        config = uvicorn.Config(
            application,
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_S,
        )
        self._server = uvicorn.Server(config)
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Answer requests from now on."""
        self._serving = asyncio.get_running_loop().create_task(self._server.serve(sockets=[self._socket]))

    async def stop(self) -> None:
        """Take no new connection, and return after the last response."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
        self._socket.close()


def _bound(address: ListenAddress) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((address.host, address.port))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made
