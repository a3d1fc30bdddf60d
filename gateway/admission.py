"""Bounded admission: how many requests of one model may be inside the gateway, waiting or in the engine.

The bound is `max_places`, and less where the model is slow: while it is saturated its speed is measured, and a request
that would have to wait longer than `max_wait_ms`, or than most of its own deadline, is refused at once. Those who are
in wait in order of arrival: with so short a queue that is fair, and nobody in it is too late already.
"""

import asyncio
import math
from collections.abc import Callable
from time import monotonic

from errors import OverCapacity
from gateway.engine import Engine, EngineAnswer
from gateway.hooks import Load, PredictionRequest
from gateway.metrics import Metrics
from gateway.speed import Speed
from settings.schema import Admission as Limits

# How much of its deadline a request may spend in line; the rest is for the engine and the way back.
SHARE_OF_DEADLINE = 0.6

Parallel = Callable[[Load], int]
"""Whose load → how many of its requests the engine can have at work at once."""


class _Model:
    """What is inside for one model."""

    __slots__ = ("inside", "max_places", "speed")

    def __init__(self, max_places: int) -> None:
        self.max_places = max_places
        self.inside = 0
        self.speed = Speed()

    def wait_s(self) -> float:
        """How long one more request would wait, as far as the model's speed is known."""
        rate = self.speed.per_second
        return 0.0 if rate is None else self.inside / rate


class Place:
    """One request's place with its model, from its making until it is left."""

    __slots__ = ("_metrics", "_model", "_name", "_parallel")

    def __init__(self, name: str, model: _Model, parallel: int, metrics: Metrics) -> None:
        self._name = name
        self._model = model
        self._parallel = parallel
        self._metrics = metrics
        model.inside += 1
        metrics.admitted(name)
        self._look()

    def leave(self, *, answered: bool) -> None:
        """Frees the place; an answer counts for the model's speed."""
        if answered:
            self._model.speed.answered()
        self._model.inside -= 1
        self._metrics.left(self._name)
        self._look()

    def _look(self) -> None:
        self._model.speed.look(monotonic(), saturated=self._model.inside > self._parallel)


class Admission:
    """Lets requests in while there is room for them."""

    def __init__(self, engine: Engine, limits: Limits, parallel: Parallel, metrics: Metrics, processes: int) -> None:
        self._engine = engine
        self._limits = limits
        self._parallel = parallel
        self._metrics = metrics
        self._processes = processes
        self._models: dict[Load, _Model] = {}

    def check(self, model: str, deadline: float) -> None:
        """Raises OverCapacity when a request that comes now has no place; for before its body is read."""
        counted = self._models.get((model, None))
        if counted is not None and counted.inside:
            self._refuse_beyond(model, counted, deadline)

    async def predict(self, request: PredictionRequest) -> EngineAnswer:
        """The engine's answer. Raises OverCapacity without a wait when there is no place."""
        place = self.enter(request.load, request.deadline)
        answered = False
        try:
            answer = await self._engine.predict(request)
            answered = True
            return answer
        finally:
            place.leave(answered=answered)

    def enter(self, load: Load, deadline: float) -> "Place":
        """A place inside, to be left again. Raises OverCapacity when there is none."""
        model = self._models.get(load) or self._open(load)
        self._refuse_beyond(load[0], model, deadline)
        return Place(load[0], model, self._parallel(load), self._metrics)

    def _open(self, load: Load) -> _Model:
        places = self._limits.models.get(load[0], self._limits.max_places)
        model = self._models[load] = _Model(max(1, places // self._processes))
        return model

    def _refuse_beyond(self, name: str, model: _Model, deadline: float) -> None:
        full = model.inside >= model.max_places
        if not full and model.speed.per_second is not None:
            left = (deadline - asyncio.get_running_loop().time()) * SHARE_OF_DEADLINE
            full = model.wait_s() > min(self._limits.max_wait_ms / 1000, left) and model.inside > 1
        if full:
            self._metrics.shed(name)
            after = str(max(1, math.ceil(model.wait_s() / 2)))
            raise OverCapacity(f"too many requests wait for model {name}", headers={"retry-after": after})
