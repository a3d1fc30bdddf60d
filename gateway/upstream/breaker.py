"""Circuit breaker: after repeated failures, requests to a model are refused for a while, and then one request tries it.

A lost request is sent once more: a prediction changes nothing in the engine, so that is safe.

closed ── failures in a row ──▶ open ── open_ms ──▶ half-open ── the one request is answered ──▶ closed
                                 ▲                      │
                                 └────── it fails ──────┘

A survey that finds a ready worker after the last failure closes it as well, so a model without requests does not stay
open. Requests that arrive while one request tries the model wait for its result, unless the engine is lost.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Literal

from errors import NoWorker, RequestError, WorkerLost
from gateway.hooks import EngineResponse, PredictionRequest, Predictor, QueueKey
from gateway.metrics import Metrics
from gateway.served_models import Snapshot
from logs import event
from settings.schema import BreakerSettings

_log = logging.getLogger(__name__)

WATCH_S = 1.0

BreakerState = Literal["closed", "open", "half_open"]


class _Circuit:
    """The failures of the engine for one model."""

    __slots__ = ("failed", "failures", "state", "trial")

    def __init__(self) -> None:
        self.state: BreakerState = "closed"
        self.failures = 0
        self.failed = 0.0  # time of the last failure
        self.trial: asyncio.Future[None] | None = None  # ends with the request that tries the model


class CircuitBreaker:
    """Refuses requests to a model that does not answer. Only NoWorker counts, because the engine caused it.

    While a model is not `closed`, `look` is called every second; it may start a survey, whose result `surveyed` gets.
    `is_recorded` tells whether delivery keeps a model serving.
    """

    def __init__(
        self,
        engine: Predictor,
        settings: BreakerSettings,
        metrics: Metrics,
        look: Callable[[], object] = lambda: None,
        is_lost: Callable[[], bool] = lambda: False,
        is_recorded: Callable[[str], bool] = lambda model: True,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._metrics = metrics
        self._look = look
        self._is_lost = is_lost
        self._is_recorded = is_recorded
        self._circuits: dict[QueueKey, _Circuit] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """Return the engine's response. Raises NoWorker at once while the breaker is open, WorkerLost if lost twice."""
        key = request.queue_key
        circuit = self._circuits.get(key)
        if circuit is None:
            circuit = self._circuits[key] = _Circuit()
        trial = None if circuit.state == "closed" else await self._try(key, circuit)
        try:
            try:
                response = await self._engine.predict(request)
            except WorkerLost as lost:
                response = await self._send_again(request, lost)
        except NoWorker:
            self._failed(key, circuit)
            raise
        except RequestError:
            self._answered(key, circuit)  # about this request, by a model that works
            raise
        finally:
            if trial is not None:
                circuit.trial = None
                trial.set_result(None)
        self._answered(key, circuit)
        return response

    def surveyed(self, snapshot: Snapshot) -> None:
        """Close the circuits of models that have had a ready worker since their last failure, or that were removed."""
        if self._is_lost():
            return  # the Management API answers, and the port for predictions does not
        for key, circuit in self._circuits.items():
            if circuit.state == "closed" or snapshot.taken <= circuit.failed:
                continue
            found = snapshot.find(*key)
            if self._is_removed(*key) if found is None else found.workers_ready:
                self._answered(key, circuit)

    def _is_removed(self, model: str, trial: str | None) -> bool:
        """Return True for an absent model that nobody brings back, so that no look at the engine waits for it."""
        return trial is not None or not self._is_recorded(model)

    def close(self) -> None:
        """Stop looking at the engine."""
        if self._timer is not None:
            self._timer.cancel()

    async def _send_again(self, request: PredictionRequest, lost: WorkerLost) -> EngineResponse:
        if asyncio.get_running_loop().time() >= request.deadline:
            raise lost
        event(_log, logging.INFO, "sent_again", model=request.model, reason=lost.detail)
        self._metrics.retried(request.model)
        return await self._engine.predict(request)

    async def _try(self, key: QueueKey, circuit: _Circuit) -> "asyncio.Future[None] | None":
        """Return the trial that a request begins, or None once another request's trial closed the circuit.

        Raises NoWorker when the model is not to be tried yet.
        """
        loop = asyncio.get_running_loop()
        while circuit.state != "closed":
            left = circuit.failed + self._settings.open_ms / 1000 - loop.time()
            if left > 0 or (circuit.trial is not None and self._is_lost()):
                after = {"retry-after": str(max(1, math.ceil(left)))}
                failed = f"model {key[0]} failed {circuit.failures} times in a row"
                raise NoWorker(f"{failed}; the gateway refuses its requests for a while", headers=after)
            if circuit.trial is None:
                circuit.trial = loop.create_future()
                self._switch(key, circuit, "half_open")
                return circuit.trial
            await asyncio.wait({circuit.trial})
        return None

    def _failed(self, key: QueueKey, circuit: _Circuit) -> None:
        circuit.failures += 1
        circuit.failed = asyncio.get_running_loop().time()
        if circuit.state == "half_open" or (circuit.state == "closed" and circuit.failures >= self._settings.failures):
            self._switch(key, circuit, "open")
            self._watch()

    def _answered(self, key: QueueKey, circuit: _Circuit) -> None:
        circuit.failures = 0
        if circuit.state != "closed":
            self._switch(key, circuit, "closed")

    def _watch(self) -> None:
        """Look at the engine until every circuit is closed: a model without requests closes in no other way."""
        if self._timer is None and any(circuit.state != "closed" for circuit in self._circuits.values()):
            self._timer = asyncio.get_running_loop().call_later(WATCH_S, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        self._look()
        self._watch()

    def _switch(self, key: QueueKey, circuit: _Circuit, state: BreakerState) -> None:
        circuit.state = state
        model, trial = key
        if trial is None:
            self._metrics.breaker(model, state)
        level = logging.WARNING if state == "open" else logging.INFO
        event(_log, level, "breaker", model=model, trial=trial, state=state)
