"""Circuit breaker: a model whose engine fails again and again is refused here for a while, and then tried by one.

closed ── failures in a row ──▶ open ── open_ms ──▶ half-open ── the one that tries succeeds ──▶ closed
                                 ▲                      │
                                 └────── it fails ──────┘
"""

import asyncio
import logging
import math
from typing import Literal

from errors import NoWorker, WorkerLost
from gateway.hooks import EngineResponse, Load, PredictionRequest, Predictor
from gateway.metrics import Metrics
from logs import event
from settings.schema import BreakerSettings

_log = logging.getLogger(__name__)

State = Literal["closed", "open", "half_open"]


class _Circuit:
    """How the engine did lately for one model."""

    __slots__ = ("failures", "opened", "state", "trying")

    def __init__(self) -> None:
        self.state: State = "closed"
        self.failures = 0
        self.opened = 0.0
        self.trying = False


class CircuitBreaker:
    """Keeps requests from a model that does not answer: only NoWorker counts, the engine is at fault then."""

    def __init__(self, engine: Predictor, settings: BreakerSettings, metrics: Metrics) -> None:
        self._engine = engine
        self._settings = settings
        self._metrics = metrics
        self._circuits: dict[Load, _Circuit] = {}

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """The engine's answer. Raises NoWorker at once while the breaker is open."""
        load = request.load
        circuit = self._circuits.get(load)
        if circuit is None:
            circuit = self._circuits[load] = _Circuit()
        trial = circuit.state != "closed" and self._may_try(load, circuit)
        try:
            answer = await self._engine.predict(request)
        except NoWorker:
            self._failed(load, circuit)
            raise
        finally:
            if trial:
                circuit.trying = False
        circuit.failures = 0
        if circuit.state != "closed":
            self._turn(load, circuit, "closed")
        return answer

    def _may_try(self, load: Load, circuit: _Circuit) -> bool:
        """True for the one that tries; raises NoWorker for everybody else."""
        left = circuit.opened + self._settings.open_ms / 1000 - asyncio.get_running_loop().time()
        if circuit.trying or left > 0:
            after = {"retry-after": str(max(1, math.ceil(left)))}
            raise NoWorker(f"model {load[0]} failed {circuit.failures} times in a row and rests", headers=after)
        circuit.trying = True
        self._turn(load, circuit, "half_open")
        return True

    def _failed(self, load: Load, circuit: _Circuit) -> None:
        circuit.failures += 1
        if circuit.state == "half_open" or circuit.failures >= self._settings.failures:
            circuit.opened = asyncio.get_running_loop().time()
            if circuit.state != "open":
                self._turn(load, circuit, "open")

    def _turn(self, load: Load, circuit: _Circuit, state: State) -> None:
        circuit.state = state
        model, trial = load
        if trial is None:
            self._metrics.breaker(model, state)
        level = logging.WARNING if state == "open" else logging.INFO
        event(_log, level, "breaker", model=model, trial=trial, state=state)


class Retry:
    """Asks again, once, when worker or connection was lost and the deadline leaves time for it."""

    def __init__(self, engine: Predictor, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """The engine's answer. Raises WorkerLost when the request was lost twice."""
        try:
            return await self._engine.predict(request)
        except WorkerLost as error:
            if asyncio.get_running_loop().time() >= request.deadline:
                raise
            event(_log, logging.INFO, "sent_again", model=request.model, reason=error.detail)
        self._metrics.retried(request.model)
        return await self._engine.predict(request)
