"""The one limit on a request's time: its work is cancelled at its deadline, or when its client disconnects."""

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from starlette.types import Receive, Scope

from errors import DeadlinePassed, UnreadableInput
from logs import log_task_error

DEADLINE_HEADER = b"x-deadline-ms"
DISCONNECT = "marina.disconnect"
"""ASGI extension of our own protocol: the `Disconnect` of the request's connection."""


class ClientDisconnect(Exception):
    """The client disconnected before its response was ready, so nobody is left to answer."""


class Disconnect:
    """The end of one connection; costs less than a task that waits for it.

    It calls `callback` when the client disconnects.
    """

    __slots__ = ("callback", "happened")

    def __init__(self) -> None:
        self.callback: Callable[[], object] | None = None
        self.happened = False

    def report(self) -> None:
        """Note that the client is gone, and stop the work for it."""
        self.happened = True
        if self.callback is not None:
            self.callback()


class CancelScope:
    """Cancels the work inside it at a deadline of the event loop's clock, on a disconnect, or by `cancel`.

        with CancelScope(deadline, disconnect):
            ...

    Raises DeadlinePassed, ClientDisconnect, or the error that `cancel` was called with. `since` is the moment from
    which the error counts the time that the request had.
    """

    __slots__ = ("_deadline", "_disconnect", "_error", "_since", "_task", "_timer")

    def __init__(
        self, deadline: float = math.inf, disconnect: Disconnect | None = None, since: float | None = None
    ) -> None:
        self._deadline = deadline
        self._disconnect = disconnect
        self._since = since
        self._error: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> "CancelScope":
        loop = asyncio.get_running_loop()
        if self._disconnect is not None:
            if self._disconnect.happened:
                raise ClientDisconnect
            self._disconnect.callback = self._disconnected
        self._task = asyncio.current_task(loop)
        if self._deadline < math.inf:
            self._since = loop.time() if self._since is None else self._since
            self._timer = loop.call_at(self._deadline, self._expired)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._disconnect is not None:
            self._disconnect.callback = None
        # An outer scope, or the task's own end, may have cancelled it as well: then that cancellation decides.
        is_last = self._error is not None and self._task is not None and self._task.uncancel() == 0
        if is_last and kind is asyncio.CancelledError:
            raise self._taken() from None

    def _taken(self) -> Exception:
        # The error's traceback refers to this scope, so the scope must not refer to the error.
        error, self._error = self._error, None
        assert error is not None
        return error

    def move(self, deadline: float) -> None:
        """Replace the deadline."""
        self._deadline = deadline
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(deadline, self._expired)

    def cancel(self, error: Exception) -> None:
        """Cancel the work; the scope ends with this error."""
        if self._error is None and self._task is not None:
            self._error = error
            self._task.cancel()

    def _expired(self) -> None:
        since = self._deadline if self._since is None else self._since
        self.cancel(DeadlinePassed(f"no answer within {max(0.0, self._deadline - since) * 1000:.0f} ms"))

    def _disconnected(self) -> None:
        self.cancel(ClientDisconnect())


def disconnect_of(scope: Scope) -> Disconnect:
    """Return the disconnect of the request's connection; under another server, one that `watching` reports to.

    Under such a server, only a task that waits for the server's message notices that a client left.
    """
    found = scope.get("extensions", {}).get(DISCONNECT)
    return found if isinstance(found, Disconnect) else Disconnect()


def watching(scope: Scope, receive: Receive, disconnect: Disconnect) -> AbstractContextManager[None]:
    """Report a disconnect while the work inside runs, once the body is read; our own protocol does that by itself."""
    return _OURS if DISCONNECT in scope.get("extensions", ()) else _watching(receive, disconnect)


_OURS = nullcontext()


@contextmanager
def _watching(receive: Receive, disconnect: Disconnect) -> Iterator[None]:
    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        disconnect.report()

    watcher = asyncio.create_task(watch())
    watcher.add_done_callback(log_task_error)
    try:
        yield
    finally:
        watcher.cancel()


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The time that a request without the header `X-Deadline-Ms` has, and the longest that any request has, in ms."""

    default_ms: int
    longest_ms: int

    def seconds(self, header: str | None) -> float:
        """Return the seconds that a request with this header has.

        Raises UnreadableInput when the header is not a whole number of milliseconds.
        """
        if header is None:
            return self.default_ms / 1000
        if not (header.isascii() and header.isdigit()):
            raise UnreadableInput("X-Deadline-Ms must be a whole number of milliseconds")
        # Python parses no number of thousands of digits; one with more than 18 is longer than any allowed.
        return min(int(header) if len(header) <= 18 else self.longest_ms, self.longest_ms) / 1000
