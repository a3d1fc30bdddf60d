"""Reads a request's body once, and no further than the limit."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from python_multipart.multipart import parse_options_header
from starlette.types import Receive, Scope

from errors import OverCapacity, TooLarge, UnreadableInput, WrongMediaType
from gateway.http.context import RequestContext, context_of, header
from settings.schema import GatewaySettings


class BodyBudget:
    """Bytes of bodies, from their first one until their request is answered."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.held = 0
        self.limit = limit

    def fits(self, size: int) -> bool:
        """Whether a body of this size may still come."""
        return self.held + size <= self.limit

    def take(self, size: int) -> bool:
        """Counts bytes that came; False, and nothing is counted, when they are too many."""
        held = self.held + size
        if held > self.limit:
            return False
        self.held = held
        return True

    def give_back(self, size: int) -> None:
        """Counts bytes no longer."""
        self.held -= size


def receiving_for(gateway: GatewaySettings) -> BodyBudget:
    """Count bodies up to the share of the limit that each process has."""
    return BodyBudget(gateway.max_receiving_bytes)


def full() -> OverCapacity:
    """The refusal. The rest of the body is not read, so that the connection must end with it."""
    headers = {"retry-after": "1", "connection": "close"}
    return OverCapacity(
        "the gateway holds as many request bodies as it may; send this one again later", headers=headers
    )


EXTENSION = "marina.whole_body"


class WholeBody:
    """Gathers the body of one request up to its end; `begin` tells the connection to bring it here."""

    __slots__ = ("_begin", "_limit", "_pieces", "_receiving", "_waiter", "size")

    def __init__(self, begin: Callable[["WholeBody"], bytes | None]) -> None:
        self._begin = begin
        self._pieces: list[bytes] = []
        self.size = 0

    async def read(self, limit: int, receiving: BodyBudget) -> bytes | None:
        """The body, cut off beyond `limit` bytes; None when the client left before its end.

        `size` bytes of it are counted in `receiving` afterwards, however this ends. Raises OverCapacity when they
        would be too many.
        """
        self._limit, self._receiving = limit, receiving
        self._waiter: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        try:
            whole = self._begin(self)
            if whole is None:
                return await self._waiter
            if not receiving.take(len(whole)):
                raise full()
            self.size = len(whole)
            return whole
        finally:
            # What the connection holds on to afterwards must not be the body.
            self._pieces = []
            self._waiter.cancel()

    def add(self, piece: bytes) -> bool:
        """A piece of it; False once no more is wanted: there is too much of it, or nobody waits."""
        if self._waiter.done():
            return False
        if not self._receiving.take(len(piece)):
            self._waiter.set_exception(full())
            return False
        self._pieces.append(piece)
        self.size += len(piece)
        if self.size > self._limit:
            self.end()
            return False
        return True

    def end(self) -> None:
        """That was all."""
        if not self._waiter.done():
            self._waiter.set_result(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))

    def lost(self) -> None:
        """The client is gone."""
        if not self._waiter.done():
            self._waiter.set_result(None)


OCTETS = "application/octet-stream"


class ClientDisconnect(Exception):
    """The client hung up before its answer was ready; nobody is left to be told anything."""


@dataclass(frozen=True, slots=True)
class Body:
    """A whole request body: its media type in lower case, the type's parameters, the bytes."""

    media_type: str
    options: dict[bytes, bytes]
    data: bytes = field(repr=False)


async def read_body(scope: Scope, receive: Receive, limit: int) -> Body:
    """Reads the body of at most `limit` bytes.

    Raises WrongMediaType for a compressed body, TooLarge as soon as more than the limit is announced or sent,
    OverCapacity when the gateway holds too many bodies already, UnreadableInput for an empty one, ClientDisconnect
    when the client hangs up meanwhile.
    """
    headers, receiving = scope["headers"], receiving_of(scope)
    encoding = header(headers, b"content-encoding")
    if encoding is not None and encoding.lower() not in {"", "identity"}:
        raise WrongMediaType("compressed bodies are not read; send the body without Content-Encoding")
    announced = header(headers, b"content-length")
    if announced is not None and announced.isdigit():
        if int(announced) > limit:
            raise _too_large(limit)
        if not receiving.fits(int(announced)):
            raise full()
    whole, request = scope.get("extensions", {}).get(EXTENSION), context_of(scope)
    if isinstance(whole, WholeBody):
        data = await _gathered(whole, limit, receiving, request)
    else:
        data = await _collect(receive, limit, receiving, request)
    if not data:
        raise UnreadableInput("the body is empty")
    media_type, options = parse_options_header(header(headers, b"content-type") or OCTETS)
    return Body(media_type.decode("latin-1").strip().lower(), options, data)


def receiving_of(scope: Scope) -> BodyBudget:
    """What counts the bodies of the application that answers this request."""
    receiving: BodyBudget = scope["state"]["services"].receiving
    return receiving


async def _gathered(whole: WholeBody, limit: int, receiving: BodyBudget, request: RequestContext) -> bytes:
    try:
        data = await whole.read(limit, receiving)
    finally:
        request.held += whole.size
    if data is None:
        raise ClientDisconnect
    if len(data) > limit:
        raise _too_large(limit)
    return data


async def _collect(receive: Receive, limit: int, receiving: BodyBudget, request: RequestContext) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        if not receiving.take(len(chunk)):
            raise full()
        request.held += len(chunk)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than the {limit} bytes that are accepted")
