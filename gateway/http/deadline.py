"""Gives up on a request when its deadline passes or its client is gone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.types import Receive, Scope

from errors import DeadlinePassed, UnreadableInput
from gateway.http.body import ClientDisconnect
from logs import log_task_error

EXTENSION = "marina.hang_up"

# Seconds of the event loop's clock: some thirty years after the machine's start.
_NEVER = 1e9


class Disconnect:
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


class DeadlineExpiredError(Exception):
    """The moment came; not a TimeoutError, which business logic may raise for reasons of its own."""


class Patience:
    """Cancels what runs inside at a moment of the event loop's clock, or when the client hangs up.

    Raises DeadlineExpiredError or ClientDisconnect then.
    """

    __slots__ = ("_hang_up", "_moment", "_reason", "_task", "_timer")

    def __init__(self, moment: float, hang_up: Disconnect | None) -> None:
        self._moment = moment
        self._hang_up = hang_up
        self._reason: type[Exception] | None = None

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        if self._hang_up is not None:
            if self._hang_up.gone:
                raise ClientDisconnect
            self._hang_up.callback = self._left
        self._task = asyncio.current_task(loop)
        self._timer = loop.call_at(self._moment, self._expired)

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        if self._hang_up is not None:
            self._hang_up.callback = None
        given_up = self._reason is not None and self._task is not None and self._task.uncancel() == 0
        if given_up and kind is asyncio.CancelledError and self._reason is not None:
            raise self._reason from None

    def _expired(self) -> None:
        self._cancel(DeadlineExpiredError)

    def _left(self) -> None:
        self._cancel(ClientDisconnect)

    def _cancel(self, reason: type[Exception]) -> None:
        if self._reason is None and self._task is not None:
            self._reason = reason
            self._task.cancel()


def hang_up_of(scope: Scope) -> Disconnect | None:
    """What tells of the end of this request's connection; None under a server without our protocol."""
    extension = scope.get("extensions", {}).get(EXTENSION)
    return extension if isinstance(extension, Disconnect) else None


@asynccontextmanager
async def watched(receive: Receive) -> AsyncIterator[None]:
    """Cancels what runs inside when the client hangs up, under a server without our protocol: a task waits for it.

    The body must be read. Raises ClientDisconnect.
    """
    hang_up = Disconnect()

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        hang_up.happened()

    watcher = asyncio.create_task(watch())
    watcher.add_done_callback(log_task_error)
    try:
        async with Patience(_NEVER, hang_up):
            yield
    finally:
        watcher.cancel()


DEADLINE_HEADER = b"x-deadline-ms"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a request may take that says nothing, and the longest that any may ask for, in ms."""

    default_ms: int
    longest_ms: int

    def seconds(self, header: str | None) -> float:
        """Seconds the request may take; the longest allowed when it asks for more.

        Raises UnreadableInput when the header is not a whole number of milliseconds.
        """
        if header is None:
            return self.default_ms / 1000
        if not (header.isascii() and header.isdigit()):
            raise UnreadableInput("X-Deadline-Ms must be a whole number of milliseconds")
        # Python reads no number of thousands of digits; one of more than 18 is longer than any allowed.
        return min(int(header) if len(header) <= 18 else self.longest_ms, self.longest_ms) / 1000


@asynccontextmanager
async def answered_within(moment: float) -> AsyncIterator[None]:
    """Ends what runs inside at a moment of the event loop's clock, and raises DeadlinePassed then."""
    started = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(moment) as limit:
            yield
    except TimeoutError:
        # Only this deadline is the client's; a time limit inside business logic is an error of its own.
        if not limit.expired():
            raise
        raise DeadlinePassed(f"no answer within {max(0.0, moment - started) * 1000:.0f} ms") from None
