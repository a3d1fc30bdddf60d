"""A request's body in one piece, without a wake-up of the application for each packet of it."""

import asyncio
from collections.abc import Callable

EXTENSION = "marina.whole_body"


class WholeBody:
    """Gathers the body of one request up to its end; `begin` tells the connection to bring it here."""

    __slots__ = ("_begin", "_limit", "_pieces", "_size", "_waiter")

    def __init__(self, begin: Callable[["WholeBody"], bytes | None]) -> None:
        self._begin = begin
        self._pieces: list[bytes] = []
        self._size = 0

    async def read(self, limit: int) -> bytes | None:
        """The body, cut off beyond `limit` bytes; None when the client left before its end."""
        self._limit = limit
        self._waiter: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        whole = self._begin(self)
        if whole is None:
            whole = await self._waiter
            # What the connection holds on to afterwards must not be the body.
            del self._waiter, self._pieces
        return whole

    def add(self, piece: bytes) -> bool:
        """A piece of it; False once no more is wanted: there is too much of it, or nobody waits."""
        if self._waiter.done():
            return False
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > self._limit:
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
