"""When a model gets one worker more or one less: by how long its requests wait, with hysteresis."""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus import Series, total
from settings.schema import Scaling, WorkerLimits

# Of the gateway's figures: waits in its queue, time in the engine (its sum is what is outstanding), and refusals.
_NAMES = ("queue_wait_seconds_sum", "queue_wait_seconds_count", "upstream_seconds_sum", "shed_total")
# Of a batch for each worker that would be left: more outstanding than this, and one less would have too much to do.
_FULL = 0.5


@dataclass(frozen=True)
class Totals:
    """What the gateways have counted for one model since the first look: seconds, requests."""

    waited_s: float = 0.0
    requests: float = 0.0
    in_engine_s: float = 0.0
    refused: float = 0.0

    @classmethod
    def of(cls, growth: Mapping[Series, float], model: str) -> "Totals":
        """Those of one model."""
        return cls(*(total(growth, f"marina_gateway_{name}", model=model) for name in _NAMES))


@dataclass(frozen=True)
class Load:
    """One model between two looks: mean wait in ms, mean requests in the engine, requests refused."""

    wait_ms: float
    outstanding: float
    refused: float

    @classmethod
    def between(cls, before: Totals, after: Totals, seconds: float) -> "Load":
        """What happened meanwhile."""
        count = after.requests - before.requests
        wait_ms = 1000 * (after.waited_s - before.waited_s) / count if count else 0.0
        return cls(wait_ms, (after.in_engine_s - before.in_engine_s) / seconds, after.refused - before.refused)


class Scaler:
    """Decides for one model; `now` is any clock's, in seconds."""

    def __init__(self, limits: WorkerLimits, scaling: Scaling) -> None:
        self._limits = limits
        self._scaling = scaling
        self._busy_since: float | None = None
        self._calm_since: float | None = None

    def wanted(self, now: float, load: Load, workers: int, batch_size: int) -> int:
        """How many workers it should have: as many, one more or one less."""
        if workers < self._limits.min_workers:
            return self._limits.min_workers
        if workers > self._limits.max_workers:
            return workers - 1
        busy = load.wait_ms > self._scaling.target_queue_ms or load.refused > 0
        calm = load.wait_ms <= self._scaling.calm_queue_ms and not busy
        calm = calm and load.outstanding <= _FULL * (workers - 1) * batch_size
        self._busy_since = (self._busy_since if self._busy_since is not None else now) if busy else None
        self._calm_since = (self._calm_since if self._calm_since is not None else now) if calm else None
        if _for(self._busy_since, now, self._scaling.up_after_s) and workers < self._limits.max_workers:
            return workers + 1
        if _for(self._calm_since, now, self._scaling.down_after_s) and workers > self._limits.min_workers:
            return workers - 1
        return workers

    def changed(self) -> None:
        """Begins anew: what was seen before a change says nothing about the time after it."""
        self._busy_since = self._calm_since = None


def _for(since: float | None, now: float, seconds: float) -> bool:
    return since is not None and now - since >= seconds
