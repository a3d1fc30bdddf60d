"""Notice before the gateway stops, so that no request meets a connection that was closed a moment before.

At the first SIGTERM or SIGINT /readyz turns 503 and every answer closes its connection, but requests are answered as
before; after the notice the server stops as it always does: no new connection, those in flight are waited for.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class Stopping:
    """Whether the gateway was asked to end."""

    asked: bool = False


@contextmanager
def notice(stopping: Stopping, seconds: float) -> Iterator[None]:
    """Puts the notice in front of the server's own signal handlers, which must be there already.

    Outside of the main thread no signal arrives, and nothing is done.
    """
    if seconds == 0 or threading.current_thread() is not threading.main_thread():
        yield
        return
    servers = {number: server for number in SIGNALS if callable(server := signal.getsignal(number))}
    asked = _Notice(stopping, seconds, asyncio.get_running_loop(), servers)
    for number in servers:
        signal.signal(number, asked)
    try:
        yield
    finally:
        for number, server in servers.items():
            signal.signal(number, server)


@dataclass(frozen=True, slots=True)
class _Notice:
    """The signal handler that gives the notice."""

    stopping: Stopping
    seconds: float
    loop: asyncio.AbstractEventLoop
    servers: dict[signal.Signals, Handler]

    def __call__(self, number: int, frame: FrameType | None) -> None:
        server = self.servers[signal.Signals(number)]
        if self.stopping.asked:  # asked twice: at once
            server(number, frame)
            return
        self.stopping.asked = True
        self.loop.call_soon_threadsafe(self.loop.call_later, self.seconds, server, number, frame)
