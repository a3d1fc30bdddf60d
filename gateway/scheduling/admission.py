"""The 429 rule: how many requests of one model may be inside the gateway, waiting or in the engine.

The bound is `max_places`, and less for a slow model. While a model is saturated its speed is measured, and a request
that would wait longer than `max_wait_ms`, or than most of its own deadline, is refused at once. Requests inside wait in
order of arrival: with so short a queue that is fair, and none of them is too late already.
"""

import math
import time
from collections import deque
from collections.abc import Callable

from errors import OverCapacity
from gateway.hooks import EngineResponse, PredictionRequest, Predictor, QueueKey
from gateway.metrics import Metrics
from gateway.scheduling.queue import Parallelism
from settings.schema import AdmissionSettings

# Long enough for several batches, short enough to follow a change.
MEMORY_S = 2.0
# A slow model is measured over at least this many answers, even when they span more than MEMORY_S.
LEAST_ANSWERS = 8
# Fewer answers do not count as a measurement unless they took MEMORY_S: a worker's first answer is far slower.
ENOUGH_ANSWERS = 32
# Less saturated time than this does not count as a measurement either.
ENOUGH_S = 0.25
# The best rate fades to 1/e in this time, so that an engine that became slower is measured as slower.
BEST_S = 30.0


class Speed:
    """The rate at which a model answers while it is saturated; older answers count less and less.

    An idle model answers only as fast as requests arrive, so only saturated time is measured. A gateway busy with
    refusals takes processor time from the workers, which then answer more slowly than they can. So the best rate counts
    until it has faded, and it fades in saturated time only.
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
        """Answers per second; None while the measurement is too short."""
        if self._seen == 0 or self._seen_s < ENOUGH_S:
            return None
        if self._seen < ENOUGH_ANSWERS and self._seen_s < MEMORY_S:
            return None
        return max(self._answers / self._seconds, self._best)

    def look(self, now: float, inside: int, parallel: int) -> None:
        """Count the time up to `now`, and note whether the model is saturated from now on.

        The model is saturated when more requests are `inside` than its workers can process at once (`parallel`). When
        `parallel` changes, the workers have changed, and the measurement restarts.
        """
        if parallel != self._parallel:
            self._parallel = parallel
            self._forget()
        elif self.is_saturated:
            self._count(now - self._last)
        self._last = now
        self.is_saturated = inside > parallel

    def answered(self) -> None:
        """Count one answer of the model."""
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
        # Answers come in batches, so a rate over a shorter time fluctuates and its peaks are meaningless.
        if self._seen_s >= MEMORY_S:
            self._best = max(self._best, self._answers / self._seconds)

    def _forget(self) -> None:
        self._best = self._answers = self._seconds = self._seen_s = 0.0
        self._seen = 0


# The share of its deadline that a request may wait; the rest is for the engine and the response.
SHARE_OF_DEADLINE = 0.6

# The longest Retry-After, because the load further ahead is unknown.
LONGEST_RETRY_S = 10
# The most refused clients that are remembered, with the time at which each may return.
MOST_RETURNING = 50_000


class _AdmittedModel:
    """The requests inside for one model."""

    __slots__ = ("_returning", "inside", "max_places", "speed")

    def __init__(self, max_places: int) -> None:
        self.max_places = max_places
        self.inside = 0
        self.speed = Speed()
        self._returning: deque[float] = deque(maxlen=MOST_RETURNING)

    def wait_s(self) -> float:
        """Return how long one more request would wait; 0.0 while the model's speed is unknown."""
        rate = self.speed.per_second
        return self.inside / rate if rate else 0.0

    def retry_after_s(self, now: float, wait_s: float) -> int:
        """Return after how many whole seconds a client that is refused at `now` may return.

        That is half the time that requests wait now, plus the time that the model takes to answer the clients that
        return before this one, so that a crowd returns no faster than the model can answer it.
        """
        while self._returning and self._returning[0] <= now:
            self._returning.popleft()
        rate = self.speed.per_second
        before_it_s = len(self._returning) / rate if rate else 0.0
        after = min(max(1, math.ceil(wait_s / 2 + before_it_s)), LONGEST_RETRY_S)
        self._returning.append(now + after)
        return after


class Slot:
    """One request's slot at its model, taken when it is made and kept until `leave`."""

    __slots__ = ("_admission", "_key", "_model")

    def __init__(self, admission: "AdmissionControl", key: QueueKey, model: _AdmittedModel) -> None:
        self._admission = admission
        self._key = key
        self._model = model
        model.inside += 1
        admission.metrics.admitted(key[0])
        admission.look(key, model)

    def leave(self, *, answered: bool) -> None:
        """Free the slot; an answer counts for the model's speed."""
        if answered:
            self._model.speed.answered()
        self._model.inside -= 1
        self._admission.metrics.left(self._key[0])
        self._admission.look(self._key, self._model)


class AdmissionControl:
    """Lets requests in while their model has room for them.

    `processes` share the slots of each model; `clock` returns seconds of the same clock as deadlines.
    """

    def __init__(
        self,
        engine: Predictor,
        limits: AdmissionSettings,
        parallelism: Parallelism,
        metrics: Metrics,
        processes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._parallelism = parallelism
        self.metrics = metrics
        self._processes = processes
        self._clock = clock
        self._models: dict[QueueKey, _AdmittedModel] = {}

    def is_pressed(self, model: str) -> bool:
        """Return True when a request that arrives now may be refused; `check` decides."""
        counted = self._models.get((model, None))
        return counted is not None and (counted.speed.is_saturated or counted.inside >= counted.max_places)

    def check(self, model: str, deadline: float) -> None:
        """Raise OverCapacity when a request that arrives now gets no slot; call this before its body is read."""
        counted = self._models.get((model, None))
        if counted is not None:
            self._check((model, None), counted, deadline)

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """Return the engine's response. Raises OverCapacity at once when there is no slot."""
        slot = self.enter(request.queue_key, request.deadline)
        answered = False
        try:
            response = await self._engine.predict(request)
            answered = True
            return response
        finally:
            slot.leave(answered=answered)

    def enter(self, key: QueueKey, deadline: float) -> Slot:
        """Return a slot, which the caller must leave. Raises OverCapacity when no slot is free."""
        model = self._models.get(key) or self._open(key)
        self._check(key, model, deadline)
        return Slot(self, key, model)

    def look(self, key: QueueKey, model: _AdmittedModel) -> None:
        """Note the number of requests inside."""
        model.speed.look(self._clock(), model.inside, self._parallelism(key))

    def _open(self, key: QueueKey) -> _AdmittedModel:
        places = self._limits.models.get(key[0], self._limits.max_places)
        model = self._models[key] = _AdmittedModel(max(1, places // self._processes))
        return model

    def _check(self, key: QueueKey, model: _AdmittedModel, deadline: float) -> None:
        wait_s = model.wait_s()
        # Requests that the workers can process at once do not wait; without this, a speed measured too low would stay.
        at_work = model.inside <= self._parallelism(key)
        if model.inside < model.max_places and (at_work or wait_s <= self._longest_wait_s(deadline)):
            return
        self.metrics.shed(key[0])
        headers = {"retry-after": str(model.retry_after_s(self._clock(), wait_s))}
        raise OverCapacity(f"too many requests wait for model {key[0]}", headers=headers)

    def _longest_wait_s(self, deadline: float) -> float:
        """Return how long a request with this deadline may wait."""
        longest = self._limits.max_wait_ms
        left = (deadline - self._clock()) * SHARE_OF_DEADLINE
        return left if longest is None else min(longest / 1000, left)
