"""A request's body, read once, within its own limit and the shared budget of all bodies.

packets ──▶ WholeBody (the gateway's protocol)  ──┐
ASGI messages (another server)            ──┴──▶ read_body ──▶ Body
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from python_multipart.multipart import parse_options_header
from starlette.types import Receive, Scope

from errors import OverCapacity, TooLarge, UnreadableInput, WrongMediaType
from gateway.http.context import RequestContext, context_of, header
from gateway.http.deadline import ClientDisconnect

OCTETS = "application/octet-stream"
WHOLE_BODY = "marina.whole_body"
"""ASGI extension of our own protocol: the `WholeBody` of the request."""


class BodyBudget:
    """The bytes of bodies that this process holds, each from its arrival until its request is answered.

    One body has at most `largest` bytes, all of them together at most `limit`.
    """

    __slots__ = ("held", "largest", "limit")

    def __init__(self, largest: int, limit: int) -> None:
        self.held = 0
        self.largest = largest
        self.limit = limit

    def fits(self, size: int) -> bool:
        """Return True when the budget has room for a body of this size."""
        return self.held + size <= self.limit

    def take(self, size: int) -> bool:
        """Count bytes that arrived; return False, and count nothing, when they exceed the budget."""
        held = self.held + size
        if held > self.limit:
            return False
        self.held = held
        return True

    def give_back(self, size: int) -> None:
        """Release these bytes from the budget."""
        self.held -= size


def budget_full() -> OverCapacity:
    """Return the error for a body beyond the budget. The rest of it stays unread, so the connection must close."""
    headers = {"retry-after": "1", "connection": "close"}
    return OverCapacity(
        "the gateway holds as many request bodies as it may; send this one again later", headers=headers
    )


class WholeBody:
    """Collects the body of one request up to its end, without waking the application for each packet.

    `begin` makes the connection deliver the body here; it returns the body when all of it has arrived already.
    """

    __slots__ = ("_begin", "_budget", "_pieces", "_waiter", "size")

    def __init__(self, begin: Callable[["WholeBody"], bytes | None]) -> None:
        self._begin = begin
        self._pieces: list[bytes] = []
        self.size = 0

    async def read(self, budget: BodyBudget) -> bytes | None:
        """Return the body, cut off beyond the largest size; None when the client disconnects before its end.

        Afterwards the budget counts `size` bytes of it, even after an error. Raises OverCapacity when the budget is
        exceeded.
        """
        self._budget = budget
        self._waiter: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        try:
            whole = self._begin(self)
            if whole is None:
                return await self._waiter
            if not budget.take(len(whole)):
                raise budget_full()
            self.size = len(whole)
            return whole
        finally:
            # The connection keeps this object until its next request; the body must not stay with it.
            self._pieces = []
            self._waiter.cancel()

    def add(self, piece: bytes) -> bool:
        """Add a piece; return False when no more is needed: the body is too large, or nobody waits for it."""
        if self._waiter.done():
            return False
        if not self._budget.take(len(piece)):
            self._waiter.set_exception(budget_full())
            return False
        self._pieces.append(piece)
        self.size += len(piece)
        if self.size > self._budget.largest:
            self.end()
            return False
        return True

    def end(self) -> None:
        """Mark the body as complete."""
        if not self._waiter.done():
            self._waiter.set_result(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))

    def lost(self) -> None:
        """Give up the body of a client that is gone."""
        if not self._waiter.done():
            self._waiter.set_result(None)


@dataclass(frozen=True, slots=True)
class Body:
    """A whole request body: its media type in lower case, the type's parameters, the bytes.

    `content_type` is the header as the client sent it, empty without one.
    """

    media_type: str
    options: dict[bytes, bytes]
    data: bytes = field(repr=False)
    content_type: str = ""


async def read_body(scope: Scope, receive: Receive, budget: BodyBudget, *, unread: bool = False) -> Body:
    """Read the body of a request; an `unread` one, which goes on as it is, may be empty or compressed.

    Raises WrongMediaType for a compressed body, TooLarge as soon as more than the largest size is announced or sent,
    OverCapacity when the gateway holds too many bodies already, UnreadableInput for an empty one, ClientDisconnect
    when the client disconnects meanwhile.
    """
    headers, request = scope["headers"], context_of(scope)
    encoding = header(headers, b"content-encoding")
    if not unread and encoding is not None and encoding.lower() not in {"", "identity"}:
        raise WrongMediaType("compressed bodies are not read; send the body without Content-Encoding")
    announced = header(headers, b"content-length")
    if announced is not None and announced.isdigit():
        if int(announced) > budget.largest:
            raise _too_large(budget)
        if not budget.fits(int(announced)):
            raise budget_full()
    whole = scope.get("extensions", {}).get(WHOLE_BODY)
    if isinstance(whole, WholeBody):
        data = await _read_whole(whole, budget, request)
    else:
        data = await _read_messages(receive, budget, request)
    if not data and not unread:
        raise UnreadableInput("the body is empty")
    content_type = header(headers, b"content-type") or ""
    media_type, options = parse_options_header(content_type or OCTETS)
    return Body(media_type.decode("latin-1").strip().lower(), options, data, content_type)


async def _read_whole(whole: WholeBody, budget: BodyBudget, request: RequestContext) -> bytes:
    try:
        data = await whole.read(budget)
    finally:
        request.held += whole.size
    if data is None:
        raise ClientDisconnect
    if len(data) > budget.largest:
        raise _too_large(budget)
    return data


async def _read_messages(receive: Receive, budget: BodyBudget, request: RequestContext) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > budget.largest:
            raise _too_large(budget)
        if not budget.take(len(chunk)):
            raise budget_full()
        request.held += len(chunk)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(budget: BodyBudget) -> TooLarge:
    return TooLarge(f"the body is larger than the {budget.largest} bytes that are accepted")
