"""The Front: TorchServe's Inference API as a bare ASGI application inside Ray Serve.

    GET  /ping
    POST /predictions/{model}[/{version}]      (PUT and GET as well, as TorchServe has it)
    POST /explanations/{model}[/{version}]

Bare, because a framework costs more processor time than all that is done here; the body passes as the bytes it came in.
It has a port of its own, or stands behind Ray's proxies.
"""

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import unquote

from ray import serve

from engines.ray.asked import Asked, Headers, Told
from engines.ray.line import Line
from engines.ray.listener import Address, Listener
from engines.ray.logs import structure_replica
from engines.ray.memory import keep_memory, settle
from engines.ray.refusals import (
    KeyRefused,
    NoSuchMethod,
    NoSuchResource,
    Refusal,
    TooLarge,
    UnknownModel,
    UnknownVersion,
)
from engines.ray.table import Table
from engines.ray.tokens import Tokens, bearer

log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

HEALTHY = b'{\n  "status": "Healthy"\n}\n'
JSON: Headers = (("content-type", "application/json"),)
EXPLANATIONS: Headers = (("explain", "True"),)
METHODS = {"POST", "PUT", "GET", "OPTIONS"}


@dataclass(frozen=True)
class Limits:
    """Of a request's body in bytes, of the requests of one version, and of the time that a removed version has (s)."""

    body: int
    queue: int
    drain_s: float

    @classmethod
    def each(cls, fronts: int, body: int, queue: int, drain_s: float) -> Self:
        """Those of one of several Fronts, which share the queue's size."""
        return cls(body, math.ceil(queue / fronts), drain_s)


class ClientGoneError(Exception):
    """Nobody is there any more to whom an answer could go."""


class Front:
    """Knows what is registered, and has a line of requests for each version."""

    def __init__(self, limits: Limits, address: Address | None = None) -> None:
        """Without an address, requests come by Ray's proxies."""
        keep_memory()
        structure_replica()
        self._limits = limits
        self._address = address
        self._listener: Listener | None = None
        self._table = Table()
        self._tokens = Tokens(b"")
        self._lines: dict[tuple[str, str], Line] = {}
        self._open = ""  # the token that was checked last, and until when it need not be checked again
        self._open_until = 0.0

    async def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Take over a new table; returns when what a removed version was asked has been answered."""
        self._tokens, self._open = Tokens(bytes.fromhex(config["secret"])), ""
        table = Table.of_plain(config["table"])
        lines: dict[tuple[str, str], Line] = {}
        for entry in table.entries:
            key = (entry.registration.model, entry.registration.version)
            known = self._lines.get(key)
            if known is not None and known.entry.registration == entry.registration:
                known.changed(entry)
                lines[key] = known
            else:
                handle = serve.get_deployment_handle("Worker", entry.registration.application, _check_exists=False)
                lines[key] = Line(entry, handle, self._limits.queue)
        gone = [line for key, line in self._lines.items() if lines.get(key) is not line or line.workers == 0]
        # From here on, without an await between, requests see the new table and nothing of the old one.
        self._table, self._lines = table, lines
        if self._address is not None and self._listener is None:
            self._listener = Listener(self._address, self.answer)
            self._listener.start()
            settle()
        await asyncio.gather(*(line.emptied(self._limits.drain_s) for line in gone))

    async def __del__(self) -> None:
        """Serve calls and awaits it before it ends a replica in good order."""
        if self._listener is not None:
            await self._listener.stop()

    async def report(self) -> dict[str, Any]:
        """What each version has inside and has counted, and the table that is followed."""
        return {
            "table": self._table.plain(),
            "lines": {key: {"inside": line.inside, "counts": line.counts.plain()} for key, line in self._lines.items()},
        }

    async def answer(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One HTTP request."""
        try:
            told = await self._told(scope, receive)
        except ClientGoneError:
            return
        except Refusal as refusal:
            told = Told.refused(refusal)
        await send(
            {
                "type": "http.response.start",
                "status": told.status,
                "headers": [
                    *((name.encode("latin-1"), value.encode("latin-1")) for name, value in told.headers),
                    (b"content-length", str(len(told.body)).encode()),
                ],
            }
        )
        await send({"type": "http.response.body", "body": told.body})

    async def _told(self, scope: Mapping[str, Any], receive: Receive) -> Told:
        parts = scope["path"].split("/")[1:]
        if parts == ["ping"]:
            return Told(200, JSON, HEALTHY)
        if parts[0] not in ("predictions", "explanations") or len(parts) not in (2, 3) or not parts[1]:
            raise NoSuchResource
        if scope["method"] not in METHODS:
            raise NoSuchMethod
        headers: Headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        named = dict(headers)
        self._check_key(named.get("authorization", ""))
        line = self._line(*parts[1:])
        body = await self._body(named, receive)
        more = EXPLANATIONS if parts[0] == "explanations" else ()
        query = scope.get("query_string", b"").decode("latin-1")
        asked = Asked(named.get("x-request-id") or uuid.uuid4().hex, (*headers, *more), query, body)
        return await while_there(line.ask(asked), receive)

    def _line(self, model: str, version: str | None = None) -> Line:
        model, version = unquote(model), unquote(version) if version else None
        wanted = version or self._table.defaults.get(model)
        if wanted is None:
            raise UnknownModel(model)
        line = self._lines.get((model, wanted))
        if line is None and model not in self._table.defaults:
            raise UnknownModel(model)
        if line is None:
            raise UnknownVersion(model, wanted)
        return line

    def _check_key(self, header: str) -> None:
        # A gateway sends one token for an hour: it is looked at again once a second.
        now = time.time()
        if header and header == self._open and now < self._open_until:
            return
        if not self._tokens.accepts("inference", bearer(header), now):
            raise KeyRefused
        self._open, self._open_until = header, now + 1

    async def _body(self, headers: Mapping[str, str], receive: Receive) -> bytes:
        if int(headers.get("content-length") or 0) > self._limits.body:
            raise TooLarge(f"the body is larger than {self._limits.body} bytes")
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > self._limits.body:
                raise TooLarge(f"the body is larger than {self._limits.body} bytes")
            if not message.get("more_body"):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def while_there(answering: Coroutine[Any, Any, Told], receive: Receive) -> Told:
    """Return an answer to a request whose body is read, and give it up when its client hangs up.

    Raises ClientGoneError then.
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
        raise ClientGoneError from None
    finally:
        watching.cancel()


class InferenceApi:
    """The ASGI application; it belongs to the Front of its process."""

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One connection's event; only HTTP has answers."""
        if scope["type"] == "http":
            front: Front = serve.get_replica_context().servable_object
            await front.answer(scope, receive, send)
