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
from gateway.hooks import EngineResponse, Load, PredictionRequest, Predictor
from gateway.metrics import Metrics
from settings.schema import AdmissionSettings

# Long enough for several batches, short enough to follow a change.
MEMORY_S = 2.0
# A slow model takes longer than that for as many answers as say something; so long is what is remembered of it.
LEAST_ANSWERS = 8
# Fewer answers say nothing yet, unless they took MEMORY_S: the first of a worker is far slower than the next.
ENOUGH_ANSWERS = 32
# Nor does less saturated time than this.
ENOUGH_S = 0.25
# How long the best rate counts: in this time an engine that became slower is believed, to 1/e.
BEST_S = 30.0


class Speed:
    """Answers by time, counted only while the model is saturated; older ones count less and less.

    A model that waits for requests would look as slow as they come. And a gateway busy with refusals takes processor
    time from the workers: what they answer meanwhile is less than they can do. So the best rate seen counts until it
    has faded, and only saturated time lets it fade.
    """

    __slots__ = ("_answers", "_best", "_last", "_parallel", "_seconds", "_seen", "_seen_s", "is_saturated")

    def __init__(self) -> None:
        self._last = 0.0
        self.is_saturated = False
        self._parallel = 0
        self._best = self._answers = self._seconds = self._seen_s = 0.0
        self._seen = 0

    @property
    def per_second(self) -> float | None:
        """Answers a second; None while too little was seen of a saturated model."""
        if self._seen == 0 or self._seen_s < ENOUGH_S:
            return None
        if self._seen < ENOUGH_ANSWERS and self._seen_s < MEMORY_S:
            return None
        return max(self._answers / self._seconds, self._best)

    def look(self, now: float, inside: int, parallel: int) -> None:
        """Note that time has passed up to `now`, and whether the model is saturated from now on.

        It is when more requests are `inside` than its workers can have at work at once (`parallel`). When that changes,
        the workers did, and what was measured before says nothing any more.
        """
        if parallel != self._parallel:
            self._parallel = parallel
            self._forget()
        elif self.is_saturated:
            self._count(now - self._last)
        self._last = now
        self.is_saturated = inside > parallel

    def answered(self) -> None:
        """Count one answer."""
        if self.is_saturated:
            self._answers += 1
            self._seen += 1

    def _count(self, passed: float) -> None:
        memory = MEMORY_S
        if self._answers:
            memory = max(memory, LEAST_ANSWERS * self._seconds / self._answers)
        fade = math.exp(-passed / memory)
        self._seconds = self._seconds * fade + passed
        self._answers *= fade
        self._seen_s += passed
        self._best *= math.exp(-passed / BEST_S)
        # Over a shorter time the rate of answers that come in batches swings, and its crests are no speed.
        if self._seen_s >= MEMORY_S:
            self._best = max(self._best, self._answers / self._seconds)

    def _forget(self) -> None:
        self._best = self._answers = self._seconds = self._seen_s = 0.0
        self._seen = 0


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


class Slot:
    """One request's place with its model, from its making until it is left."""

    __slots__ = ("_admission", "_load", "_model")

    def __init__(self, admission: "AdmissionControl", load: Load, model: _Model) -> None:
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


class AdmissionControl:
    """Lets requests in while there is room for them.

    `processes` share the places of each model; `clock` tells seconds, from the same start as deadlines do.
    """

    def __init__(
        self,
        engine: Predictor,
        limits: AdmissionSettings,
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

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """Return the engine's answer. Raises OverCapacity without a wait when there is no place."""
        place = self.enter(request.load, request.deadline)
        answered = False
        try:
            answer = await self._engine.predict(request)
            answered = True
            return answer
        finally:
            place.leave(answered=answered)

    def enter(self, load: Load, deadline: float) -> Slot:
        """Return a place inside, to be left again. Raises OverCapacity when there is none."""
        model = self._models.get(load) or self._open(load)
        self._refuse_beyond(load, model, deadline)
        return Slot(self, load, model)

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
