"""The latency goal, and the result of an evaluation that it is compared with."""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

KEYS = {"50": "p50", "90": "p90", "95": "p95", "99": "p99", "99.9": "p999"}


@dataclass(frozen=True)
class LatencyGoal:
    """A percentile, by its name in `loadtest.round_stats.Percentiles`, and its limit in ms."""

    key: str
    limit_ms: float

    @classmethod
    def of(cls, text: str) -> "LatencyGoal":
        """Parse `p99:80ms`; the schema of the settings has checked its form."""
        found = re.fullmatch(r"p([\d.]+):([\d.]+)(ms|s)", text)
        assert found is not None
        return cls(KEYS[found[1]], float(found[2]) * (1000 if found[3] == "s" else 1))

    @property
    def name(self) -> str:
        """The percentile in text, such as p99 or p99.9."""
        return "p99.9" if self.key == "p999" else self.key

    def __str__(self) -> str:
        return f"{self.name} of at most {self.limit_ms:g} ms"


@dataclass(frozen=True)
class EvaluationResult:
    """All rounds of one candidate: predictions a second and the goal's percentile in ms of each round.

    `memory` is the bytes of all workers of the stack, None if they run elsewhere; `cores` is the use of the stack.
    """

    rates: tuple[float, ...]
    latencies_ms: tuple[float, ...]
    requests: int
    failed: int
    memory: int | None
    cores: float | None

    @property
    def rate(self) -> float:
        """The median rate."""
        return statistics.median(self.rates)

    @property
    def latency_ms(self) -> float:
        """The median of the percentile."""
        return statistics.median(self.latencies_ms)

    def meets(self, goal: LatencyGoal) -> bool:
        """Return True when the goal is met and every request was answered."""
        return not self.failed and self.latency_ms <= goal.limit_ms

    def score(self, goal: LatencyGoal) -> tuple[int, float]:
        """Return a score, higher is better: the rate among results that meet the goal, else the distance to it."""
        if self.failed:
            return 0, -self.failed / self.requests
        return (2, self.rate) if self.meets(goal) else (1, -self.latency_ms)

    def is_promising(self, best: "EvaluationResult", goal: LatencyGoal) -> bool:
        """Return True when the best round equals the median of `best`, which justifies a longer evaluation."""
        if self.failed:
            return False
        if not best.meets(goal):
            return min(self.latencies_ms) <= max(best.latency_ms, goal.limit_ms)
        return min(self.latencies_ms) <= goal.limit_ms and max(self.rates) >= best.rate


def pooled(each: Sequence[EvaluationResult]) -> EvaluationResult:
    """Merge several results of one candidate."""
    memory = [one.memory for one in each if one.memory is not None]
    cores = [one.cores for one in each if one.cores is not None]
    return EvaluationResult(
        rates=tuple(rate for one in each for rate in one.rates),
        latencies_ms=tuple(latency for one in each for latency in one.latencies_ms),
        requests=sum(one.requests for one in each),
        failed=sum(one.failed for one in each),
        memory=max(memory) if memory else None,
        cores=statistics.fmean(cores) if cores else None,
    )
