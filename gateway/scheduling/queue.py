"""Requests wait here, not in the engine: what is given up or too late while it waits never reaches a worker."""

import asyncio
from collections import deque
from collections.abc import Callable

from errors import DeadlinePassed
from gateway.hooks import EngineResponse, Load, PredictionRequest, Predictor
from gateway.metrics import Metrics

Parallel = Callable[[Load], int]


class _Line:
    """The requests of one model: how many are with the engine, and who waits, first come first."""

    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.waiting: deque[asyncio.Future[None]] = deque()

    def free(self) -> None:
        """Gives the place of one that is done to the first that still waits."""
        while self.waiting:
            first = self.waiting.popleft()
            if not first.done():
                first.set_result(None)
                return
        self.running -= 1


class RequestQueue:
    """Sends no more to the engine at once than keeps its workers busy."""

    def __init__(self, engine: Predictor, parallel: Parallel, metrics: Metrics) -> None:
        self._engine = engine
        self._parallel = parallel
        self._metrics = metrics
        self._lines: dict[Load, _Line] = {}

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """The engine's answer, when it is this request's turn. Raises DeadlinePassed when that comes too late."""
        clock = asyncio.get_running_loop().time
        load = request.load
        line = self._lines.get(load)
        if line is None:
            line = self._lines[load] = _Line()
        arrived = clock()
        if line.running < self._parallel(load):
            line.running += 1
        else:
            await self._turn(line)
        try:
            now = clock()
            self._metrics.queued(request.model, now - arrived)
            if now >= request.deadline:
                raise DeadlinePassed("the deadline passed before the engine was free")
            return await self._engine.predict(request)
        finally:
            line.free()

    async def _turn(self, line: _Line) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            # The place may have been given in the same moment in which the request was given up.
            if turn.done() and not turn.cancelled():
                line.free()
            raise
