"""Gives up on a request whose client is gone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.types import Receive, Scope

from gateway.body import ClientGoneError

EXTENSION = "marina.hang_up"


class HangUp:
    """One connection's end, told to whoever answers on it: cheaper than a task that waits for it."""

    __slots__ = ("callback", "gone")

    def __init__(self) -> None:
        self.callback: Callable[[], object] | None = None
        self.gone = False

    def happened(self) -> None:
        """Tells it."""
        self.gone = True
        if self.callback is not None:
            self.callback()


class _Abandoned(AbstractAsyncContextManager[None]):
    """Cancels the task that works for a client when the client hangs up."""

    __slots__ = ("_gone", "_hang_up", "_task")

    def __init__(self, hang_up: HangUp) -> None:
        self._hang_up = hang_up
        self._gone = False
        self._task = asyncio.current_task()

    async def __aenter__(self) -> None:
        if self._hang_up.gone:
            raise ClientGoneError
        self._hang_up.callback = self._cancel

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._hang_up.callback = None
        if kind is asyncio.CancelledError and self._gone and self._task is not None and self._task.uncancel() == 0:
            raise ClientGoneError from None

    def _cancel(self) -> None:
        self._gone = True
        if self._task is not None:
            self._task.cancel()


@asynccontextmanager
async def _watched(receive: Receive) -> AsyncIterator[None]:
    """The same under a server that has no such extension: a task waits for the end."""
    hang_up = HangUp()

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        hang_up.happened()

    watcher = asyncio.create_task(watch())
    try:
        async with _Abandoned(hang_up):
            yield
    finally:
        watcher.cancel()


def abandoned_with_client(scope: Scope, receive: Receive) -> AbstractAsyncContextManager[None]:
    """Cancels what runs inside when the client hangs up, and raises ClientGoneError then. The body must be read."""
    extension = scope.get("extensions", {}).get(EXTENSION)
    return _Abandoned(extension) if isinstance(extension, HangUp) else _watched(receive)
