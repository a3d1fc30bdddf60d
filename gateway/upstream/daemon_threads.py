"""Threads for blocking calls to the engine.

A call to an engine that hangs blocks for seconds. The threads of `concurrent.futures` and of the event loop keep the
process alive for so long; these end with it.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

Result = TypeVar("Result")


class DaemonThreads:
    """At most `most` threads, started when they are needed. `run` belongs to one event loop."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._calls: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._started = 0
        self._idle = threading.Semaphore(0)

    def run(self, call: Callable[..., Result], *arguments: Any) -> "asyncio.Future[Result]":
        """Return the future result of a blocking call, which goes on in its thread when the future is cancelled."""
        future: Future[Result] = Future()
        self._calls.put((future, call, arguments))
        if not self._idle.acquire(blocking=False) and self._started < self._most:
            self._started += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
        return asyncio.wrap_future(future)

    def close(self) -> None:
        """End each thread after its present call."""
        for _ in range(self._started):
            self._calls.put(None)

    def _work(self) -> None:
        while (work := self._calls.get()) is not None:
            _finish(*work)
            del work
            self._idle.release()


def _finish(future: Future[Any], call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call(*arguments))
    except BaseException as error:  # noqa: BLE001 -- raised again where the result is awaited
        future.set_exception(error)
        # The traceback holds this frame, and the frame would hold the future and so the error.
        del future
