"""Sends once more what was lost on its way: predictions change nothing in the engine, so that is safe."""

import asyncio
import logging

from errors import WorkerLost
from gateway.engine import Engine, EngineAnswer
from gateway.hooks import PredictionRequest
from gateway.metrics import Metrics
from logs import event

_log = logging.getLogger(__name__)


class Retry:
    """Asks again, once, when worker or connection was lost and the deadline leaves time for it."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics

    async def predict(self, request: PredictionRequest) -> EngineAnswer:
        """The engine's answer. Raises WorkerLost when the request was lost twice."""
        try:
            return await self._engine.predict(request)
        except WorkerLost as error:
            if asyncio.get_running_loop().time() >= request.deadline:
                raise
            event(_log, logging.INFO, "sent_again", model=request.model, reason=error.detail)
        self._metrics.retried(request.model)
        return await self._engine.predict(request)
