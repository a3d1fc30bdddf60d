"""What a setting must keep, and what was measured of it."""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

KEYS = {"50": "p50", "90": "p90", "95": "p95", "99": "p99", "99.9": "p999"}


@dataclass(frozen=True)
class Goal:
    """A percentile of the latency, as `loadtest.summary.Percentiles` names it, and its limit in ms."""

    key: str
    limit_ms: float

    @classmethod
    def of(cls, text: str) -> "Goal":
        """From `p99:80ms`; the settings' schema has checked its form."""
        found = re.fullmatch(r"p([\d.]+):([\d.]+)(ms|s)", text)
        assert found is not None
        return cls(KEYS[found[1]], float(found[2]) * (1000 if found[3] == "s" else 1))

    @property
    def name(self) -> str:
        """For people: p99, p99.9."""
        return "p99.9" if self.key == "p999" else self.key

    def __str__(self) -> str:
        return f"{self.name} of at most {self.limit_ms:g} ms"


@dataclass(frozen=True)
class Measured:
    """All rounds of one setting: predictions a second and the goal's percentile in ms of each, and what it used."""

    rates: tuple[float, ...]
    latencies_ms: tuple[float, ...]
    requests: int
    failed: int
    memory: int | None  # bytes of all workers of the stack; None when they run elsewhere
    cores: float | None  # that the whole stack used

    @property
    def rate(self) -> float:
        """The median round's."""
        return statistics.median(self.rates)

    @property
    def latency_ms(self) -> float:
        """The median round's."""
        return statistics.median(self.latencies_ms)

    def keeps(self, goal: Goal) -> bool:
        """Whether the goal is kept, and every request was answered."""
        return not self.failed and self.latency_ms <= goal.limit_ms

    def score(self, goal: Goal) -> tuple[int, float]:
        """Higher is better: settings that keep the goal by their rate, above all others by how near they come to it."""
        if self.failed:
            return 0, -self.failed / self.requests
        return (2, self.rate) if self.keeps(goal) else (1, -self.latency_ms)

    def promising(self, best: "Measured", goal: Goal) -> bool:
        """Whether its luckiest round is as good as the best setting's median one; then it deserves a longer look."""
        if self.failed:
            return False
        if not best.keeps(goal):
            return min(self.latencies_ms) <= max(best.latency_ms, goal.limit_ms)
        return min(self.latencies_ms) <= goal.limit_ms and max(self.rates) >= best.rate


def pooled(each: Sequence[Measured]) -> Measured:
    """Several looks at one setting as one."""
    memory = [one.memory for one in each if one.memory is not None]
    cores = [one.cores for one in each if one.cores is not None]
    return Measured(
        rates=tuple(rate for one in each for rate in one.rates),
        latencies_ms=tuple(latency for one in each for latency in one.latencies_ms),
        requests=sum(one.requests for one in each),
        failed=sum(one.failed for one in each),
        memory=max(memory) if memory else None,
        cores=statistics.fmean(cores) if cores else None,
    )
