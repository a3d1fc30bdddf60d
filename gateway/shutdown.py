"""The gateway's stop: a notice, then time for what is in flight, then the end.

    first signal ──▶ notice ──▶ no new connection or call ──▶ all answered, or graceful_stop_s ──▶ end
    second signal ─────────────────────────────────────────────────────────────────────────────▶ end at once

During the notice, /readyz answers 503 and every response closes its connection, but requests are answered as before.
Requests that are in flight at the end are cut off and counted.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import uvicorn

from logs import event

Handler = Callable[[int, FrameType | None], Any]

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Shutdown:
    """The gateway's shutdown.

    Attributes:
        requested: True from the first signal on.
        stopping: set after the notice; nothing new is accepted.
        cut: set when the requests that are still in flight are cut off.
        unanswered: number of requests that were cut off.

    """

    requested: bool = False
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    unanswered: int = 0


@contextmanager
def stop_signals(
    shutdown: Shutdown, *, notice_s: float, grace_s: float, in_flight: Callable[[], int]
) -> Iterator[None]:
    """Put the stop in front of the server's own signal handlers, which must be installed already.

    Outside the main thread no signal arrives, and this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    servers = {number: server for number in SIGNALS if callable(server := signal.getsignal(number))}
    handler = _StopHandler(shutdown, notice_s, grace_s, in_flight, asyncio.get_running_loop(), servers)
    for number in servers:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, server in servers.items():
            signal.signal(number, server)


@dataclass(frozen=True, slots=True)
class _StopHandler:
    """The signal handler. Signals may come at any moment, so it does everything in the event loop."""

    shutdown: Shutdown
    notice_s: float
    grace_s: float
    in_flight: Callable[[], int]
    loop: asyncio.AbstractEventLoop
    servers: dict[signal.Signals, Handler]

    def __call__(self, number: int, frame: FrameType | None) -> None:
        server = self.servers[signal.Signals(number)]
        if self.shutdown.requested:
            self.loop.call_soon_threadsafe(self._stop, server, number, 0.0)
            return
        self.shutdown.requested = True
        self.loop.call_soon_threadsafe(self.loop.call_later, self.notice_s, self._stop, server, number, self.grace_s)

    def _stop(self, server: Handler, number: int, grace_s: float) -> None:
        self.shutdown.stopping.set()
        owner = getattr(server, "__self__", None)
        if not isinstance(owner, uvicorn.Server):
            server(number, None)
            return
        # Its own handler would raise the signal again after the stop, and the process would end by that signal.
        owner.should_exit = True
        self.loop.call_later(grace_s, self._cut, owner)

    def _cut(self, server: uvicorn.Server) -> None:
        if self.shutdown.cut.is_set():
            return
        self.shutdown.cut.set()
        self.shutdown.unanswered = self.in_flight()
        if self.shutdown.unanswered:
            event(_log, logging.WARNING, "requests_cut_off", count=self.shutdown.unanswered)
        for connection in tuple(server.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
