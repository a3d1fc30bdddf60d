"""The queue in the gateway: a request that is cancelled or too late while it waits here never reaches a worker."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar

from errors import DeadlinePassed
from gateway.hooks import EngineResponse, PredictionRequest, Predictor, QueueKey
from gateway.metrics import Metrics

Parallelism = Callable[[QueueKey], int]
"""A queue → how many of its requests keep the model's workers busy."""


def _unheard(_: float) -> None:
    """Ignore a wait."""


on_wait: ContextVar[Callable[[float], None]] = ContextVar("on_wait", default=_unheard)
"""Gets the seconds for which a request of this context waited; of requests that share a batch, the first one's."""


class _Line:
    """The requests of one model: how many the engine has, and those that wait, first come first."""

    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.waiting: deque[asyncio.Future[None]] = deque()

    def leave(self) -> None:
        """Let the first request that still waits take the turn of one that is done."""
        while self.waiting:
            first = self.waiting.popleft()
            if not first.done():
                first.set_result(None)
                return
        self.running -= 1


class RequestQueue:
    """Sends the engine no more requests at once than keep its workers busy."""

    def __init__(self, engine: Predictor, parallelism: Parallelism, metrics: Metrics) -> None:
        self._engine = engine
        self._parallelism = parallelism
        self._metrics = metrics
        self._lines: dict[QueueKey, _Line] = {}

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """Wait for the request's turn and return the engine's response. Raises DeadlinePassed if that is too late."""
        clock = asyncio.get_running_loop().time
        key = request.queue_key
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line()
        arrived = now = clock()
        if line.running < self._parallelism(key):
            line.running += 1
        else:
            await self._wait(line)
            now = clock()
            on_wait.get()(now - arrived)
        try:
            self._metrics.queued(request.model, now - arrived)
            if now >= request.deadline:
                raise DeadlinePassed("the deadline passed before the engine was free")
            return await self._engine.predict(request)
        finally:
            line.leave()

    async def _wait(self, line: _Line) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            # The turn may have come at the very moment of the cancellation.
            if turn.done() and not turn.cancelled():
                line.leave()
            raise
