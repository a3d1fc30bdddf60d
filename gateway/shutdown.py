"""A notice period before the gateway stops, so that no request arrives on a connection that was just closed.

After the first SIGTERM or SIGINT, /readyz answers 503 and every response closes its connection, but the gateway
answers requests as before. After the notice the server stops as usual: it opens no connection and waits for requests.
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
class Shutdown:
    """The gateway's shutdown; `requested` from the first signal on."""

    requested: bool = False


@contextmanager
def shutdown_notice(shutdown: Shutdown, seconds: float) -> Iterator[None]:
    """Delay the server's own signal handlers, which must be installed already, by the notice.

    Outside the main thread no signal arrives, and this does nothing.
    """
    if seconds == 0 or threading.current_thread() is not threading.main_thread():
        yield
        return
    servers = {number: server for number in SIGNALS if callable(server := signal.getsignal(number))}
    delayed = _DelayedHandler(shutdown, seconds, asyncio.get_running_loop(), servers)
    for number in servers:
        signal.signal(number, delayed)
    try:
        yield
    finally:
        for number, server in servers.items():
            signal.signal(number, server)


@dataclass(frozen=True, slots=True)
class _DelayedHandler:
    """The signal handler that notes the shutdown and calls the server's handler after the notice."""

    shutdown: Shutdown
    seconds: float
    loop: asyncio.AbstractEventLoop
    servers: dict[signal.Signals, Handler]

    def __call__(self, number: int, frame: FrameType | None) -> None:
        server = self.servers[signal.Signals(number)]
        if self.shutdown.requested:  # a second signal stops the server at once
            server(number, frame)
            return
        self.shutdown.requested = True
        self.loop.call_soon_threadsafe(self.loop.call_later, self.seconds, server, number, frame)
