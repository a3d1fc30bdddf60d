"""Bounded admission: how many requests of one model may be inside the gateway, waiting or in the engine.

The bound is `max_places`, and less where the model is slow: while it is saturated its speed is measured, and a request
that would have to wait longer than `max_wait_ms`, or than most of its own deadline, is refused at once. Requests inside
wait in order of arrival: with so short a queue that is fair, and none of them is too late already.
"""

import math
import time
from collections import deque
from collections.abc import Callable

from errors import OverCapacity
from gateway.engine import Engine, EngineAnswer
from gateway.hooks import Load, PredictionRequest
from gateway.metrics import Metrics
from gateway.speed import Speed
from settings.schema import Admission as Limits

# How much of its deadline a request may spend in line; the rest is for the engine and the way back.
SHARE_OF_DEADLINE = 0.6

# No client is told to stay away for longer: who knows what the load will be then.
LONGEST_RETRY_S = 10
# So many are remembered of those who were told to come back.
MOST_TOLD = 50_000

Parallel = Callable[[Load], int]
"""Whose load → how many of its requests the engine can have at work at once."""


class _Model:
    """What is inside for one model."""

    __slots__ = ("_told", "inside", "max_places", "speed")

    def __init__(self, max_places: int) -> None:
        self.max_places = max_places
        self.inside = 0
        self.speed = Speed()
        self._told: deque[float] = deque(maxlen=MOST_TOLD)

    def wait_s(self) -> float:
        """Return how long one more request would wait, as far as the model's speed is known."""
        rate = self.speed.per_second
        return self.inside / rate if rate else 0.0

    def retry_after_s(self, now: float, wait_s: float) -> int:
        """Return in how many whole seconds the client that is refused at `now` may come back.

        After half the time that requests wait now, and after those who were told to come back before it: each gets the
        time that the model takes to answer them, so that a crowd comes back no faster than it can be answered.
        """
        while self._told and self._told[0] <= now:
            self._told.popleft()
        rate = self.speed.per_second
        before_it_s = len(self._told) / rate if rate else 0.0
        after = min(max(1, math.ceil(wait_s / 2 + before_it_s)), LONGEST_RETRY_S)
        self._told.append(now + after)
        return after


class Place:
    """One request's place with its model, from its making until it is left."""

    __slots__ = ("_admission", "_load", "_model")

    def __init__(self, admission: "Admission", load: Load, model: _Model) -> None:
        self._admission = admission
        self._load = load
        self._model = model
        model.inside += 1
        admission.metrics.admitted(load[0])
        admission.look(load, model)

    def leave(self, *, answered: bool) -> None:
        """Free the place; an answer counts for the model's speed."""
        if answered:
            self._model.speed.answered()
        self._model.inside -= 1
        self._admission.metrics.left(self._load[0])
        self._admission.look(self._load, self._model)


class Admission:
    """Lets requests in while there is room for them.

    `processes` share the places of each model; `clock` tells seconds, from the same start as deadlines do.
    """

    def __init__(
        self,
        engine: Engine,
        limits: Limits,
        parallel: Parallel,
        metrics: Metrics,
        processes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._parallel = parallel
        self.metrics = metrics
        self._processes = processes
        self._clock = clock
        self._models: dict[Load, _Model] = {}

    def is_pressed(self, model: str) -> bool:
        """Say whether a request that comes now may have no place; when it does not, `check` need not be asked."""
        counted = self._models.get((model, None))
        return counted is not None and (counted.speed.is_saturated or counted.inside >= counted.max_places)

    def check(self, model: str, deadline: float) -> None:
        """Raise OverCapacity when a request that comes now has no place; for before its body is read."""
        counted = self._models.get((model, None))
        if counted is not None:
            self._refuse_beyond((model, None), counted, deadline)

    async def predict(self, request: PredictionRequest) -> EngineAnswer:
        """Return the engine's answer. Raises OverCapacity without a wait when there is no place."""
        place = self.enter(request.load, request.deadline)
        answered = False
        try:
            answer = await self._engine.predict(request)
            answered = True
            return answer
        finally:
            place.leave(answered=answered)

    def enter(self, load: Load, deadline: float) -> Place:
        """Return a place inside, to be left again. Raises OverCapacity when there is none."""
        model = self._models.get(load) or self._open(load)
        self._refuse_beyond(load, model, deadline)
        return Place(self, load, model)

    def look(self, load: Load, model: _Model) -> None:
        """Note who is inside now."""
        model.speed.look(self._clock(), model.inside, self._parallel(load))

    def _open(self, load: Load) -> _Model:
        places = self._limits.models.get(load[0], self._limits.max_places)
        model = self._models[load] = _Model(max(1, places // self._processes))
        return model

    def _refuse_beyond(self, load: Load, model: _Model, deadline: float) -> None:
        wait_s = model.wait_s()
        # What the workers can have before them waits for nobody; without it a speed once measured too low would stay.
        at_work = model.inside <= self._parallel(load)
        if model.inside < model.max_places and (at_work or wait_s <= self._bearable_s(deadline)):
            return
        self.metrics.shed(load[0])
        headers = {"retry-after": str(model.retry_after_s(self._clock(), wait_s))}
        raise OverCapacity(f"too many requests wait for model {load[0]}", headers=headers)

    def _bearable_s(self, deadline: float) -> float:
        """Return how long a request with this deadline may wait."""
        longest = self._limits.max_wait_ms
        left = (deadline - self._clock()) * SHARE_OF_DEADLINE
        return left if longest is None else min(longest / 1000, left)
