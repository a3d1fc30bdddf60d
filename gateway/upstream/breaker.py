"""Circuit breaker: after repeated failures, requests to a model are refused for a while, and then one request tries it.

A lost request is sent once more: a prediction changes nothing in the engine, so that is safe.

closed ── failures in a row ──▶ open ── open_ms ──▶ half-open ── the one request succeeds ──▶ closed
                                 ▲                      │
                                 └────── it fails ──────┘
"""

import asyncio
import logging
import math
from typing import Literal

from errors import NoWorker, WorkerLost
from gateway.hooks import EngineResponse, PredictionRequest, Predictor, QueueKey
from gateway.metrics import Metrics
from logs import event
from settings.schema import BreakerSettings

_log = logging.getLogger(__name__)

BreakerState = Literal["closed", "open", "half_open"]


class _Circuit:
    """The failures of the engine for one model."""

    __slots__ = ("failures", "is_trying", "opened", "state")

    def __init__(self) -> None:
        self.state: BreakerState = "closed"
        self.failures = 0
        self.opened = 0.0
        self.is_trying = False


class CircuitBreaker:
    """Refuses requests to a model that does not answer. Only NoWorker counts, because the engine caused it."""

    def __init__(self, engine: Predictor, settings: BreakerSettings, metrics: Metrics) -> None:
        self._engine = engine
        self._settings = settings
        self._metrics = metrics
        self._circuits: dict[QueueKey, _Circuit] = {}

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """Return the engine's response. Raises NoWorker at once while the breaker is open, WorkerLost if lost twice."""
        key = request.queue_key
        circuit = self._circuits.get(key)
        if circuit is None:
            circuit = self._circuits[key] = _Circuit()
        is_trial = circuit.state != "closed" and self._may_try(key, circuit)
        try:
            try:
                response = await self._engine.predict(request)
            except WorkerLost as error:
                if asyncio.get_running_loop().time() >= request.deadline:
                    raise
                event(_log, logging.INFO, "sent_again", model=request.model, reason=error.detail)
                self._metrics.retried(request.model)
                response = await self._engine.predict(request)
        except NoWorker:
            self._failed(key, circuit)
            raise
        finally:
            if is_trial:
                circuit.is_trying = False
        circuit.failures = 0
        if circuit.state != "closed":
            self._switch(key, circuit, "closed")
        return response

    def _may_try(self, key: QueueKey, circuit: _Circuit) -> bool:
        """Return True for the one request that tries the model; raise NoWorker for all others."""
        left = circuit.opened + self._settings.open_ms / 1000 - asyncio.get_running_loop().time()
        if circuit.is_trying or left > 0:
            after = {"retry-after": str(max(1, math.ceil(left)))}
            failed = f"model {key[0]} failed {circuit.failures} times in a row"
            raise NoWorker(f"{failed}; the gateway refuses its requests for a while", headers=after)
        circuit.is_trying = True
        self._switch(key, circuit, "half_open")
        return True

    def _failed(self, key: QueueKey, circuit: _Circuit) -> None:
        circuit.failures += 1
        if circuit.state == "half_open" or circuit.failures >= self._settings.failures:
            circuit.opened = asyncio.get_running_loop().time()
            if circuit.state != "open":
                self._switch(key, circuit, "open")

    def _switch(self, key: QueueKey, circuit: _Circuit, state: BreakerState) -> None:
        circuit.state = state
        model, trial = key
        if trial is None:
            self._metrics.breaker(model, state)
        level = logging.WARNING if state == "open" else logging.INFO
        event(_log, level, "breaker", model=model, trial=trial, state=state)
