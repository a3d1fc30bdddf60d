"""A request's body in one piece, without a wake-up of the application for each packet of it."""

import asyncio
from collections.abc import Callable

from gateway.receiving import Receiving, full

EXTENSION = "marina.whole_body"


class WholeBody:
    """Gathers the body of one request up to its end; `begin` tells the connection to bring it here."""

    __slots__ = ("_begin", "_limit", "_pieces", "_receiving", "_waiter", "size")

    def __init__(self, begin: Callable[["WholeBody"], bytes | None]) -> None:
        self._begin = begin
        self._pieces: list[bytes] = []
        self.size = 0

    async def read(self, limit: int, receiving: Receiving) -> bytes | None:
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
