"""The gateway's figures that a rollout uses: answers of a model, versions on trial, load.

/metrics ──prometheus.GatewayMetrics──▶ counters and their growth ─┬─ AnswerCounts: the watch after a switch
                                                                   ├─ TrialFigures: a canary or shadow
                                                                   └─ ModelTotals, ModelLoad: the autoscaler
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus import GatewayMetrics, Series, samples, total

# Predictions that the engine answered, by model and status; of several engine hosts, by host as well.
CALLS = "marina_gateway_upstream_seconds_count"
HOST_CALLS = "marina_gateway_node_calls_total"
# Answers of each version while one is on trial, copies sent to it, and requests that it left to the old version.
SECONDS = "marina_gateway_version_seconds"
COPIES = "marina_gateway_shadow_total"
FALLBACKS = "marina_gateway_fallbacks_total"
LARGEST = "marina_gateway_shadow_largest_change"
# Wait in the gateway's queue, time in the engine (whose growth per second is the requests outstanding), and refused
# requests.
LOAD = ("queue_wait_seconds_sum", "queue_wait_seconds_count", "upstream_seconds_sum", "shed_total")


@dataclass(frozen=True)
class AnswerCounts:
    """The engine's answers for one model."""

    answered: int = 0
    failed: int = 0

    @classmethod
    def of(cls, figures: Mapping[Series, float], model: str, node: str | None) -> "AnswerCounts":
        """Count the answers in the figures; those of one host when `node` names it."""
        by_host = {} if node is None else {"node": node}
        calls = samples(figures, CALLS if node is None else HOST_CALLS, model=model, **by_host)
        # The status of a version on trial has two parts, such as `200 canary`.
        own = [(labels["status"], int(number)) for labels, number in calls if " " not in labels["status"]]
        failed = sum(number for status, number in own if status == "lost" or status[0] == "5")
        return cls(sum(number for _, number in own), failed)

    @classmethod
    def added(cls, counts: Iterable["AnswerCounts"]) -> "AnswerCounts":
        """Add up the counts of several hosts."""
        found = tuple(counts)
        return cls(sum(each.answered for each in found), sum(each.failed for each in found))

    @property
    def failed_share(self) -> float:
        """The share of failed answers, 0 without answers."""
        return self.failed / self.answered if self.answered else 0.0

    def __str__(self) -> str:
        if self.answered == 0:
            return "no request came while it was watched, so none of its answers was judged"
        return f"{self.failed} of its first {self.answered} answers failed"


@dataclass(frozen=True)
class VersionCounts:
    """The answers of one version: their number by status, and how many good ones took at most each bound's seconds."""

    answers: Mapping[int, int]
    seconds: Mapping[float, int]

    @property
    def requests(self) -> int:
        """The number of all answers."""
        return sum(self.answers.values())

    @property
    def failed(self) -> int:
        """The number of answers with status 500 or higher, passed deadlines included."""
        return sum(number for status, number in self.answers.items() if status >= 500)

    @property
    def refused(self) -> int:
        """The number of 4xx answers. Both versions get the same kind of requests, so their shares can be compared."""
        return sum(number for status, number in self.answers.items() if 400 <= status < 500)


@dataclass(frozen=True)
class CopyCounts:
    """Copied requests by result, and the largest difference between two answers."""

    same: int = 0
    differs: int = 0
    failed: int = 0
    dropped: int = 0
    largest: float = 0.0

    @property
    def compared(self) -> int:
        """The number of compared pairs of answers."""
        return self.same + self.differs


class TrialFigures:
    """The figures of two versions of a model, counted from the first call of `look` on."""

    def __init__(self, figures: GatewayMetrics, model: str) -> None:
        self._figures = figures
        self._model = model

    def look(self) -> bool:
        """Read the figures again. Return False when they cannot be read at the moment. Raises MetricsError."""
        return self._figures.look()

    def version(self, version: str, kind: str) -> VersionCounts:
        """Return the answers of one version; `kind` is `live`, or `shadow` for answers to copies."""
        answers: Counter[int] = Counter()
        seconds: Counter[float] = Counter()
        for labels, number in self._grown(f"{SECONDS}_count", version, way=kind):
            answers[int(labels["status"])] += int(number)
        # The latency of failed answers says nothing about that of good ones.
        for labels, number in self._grown(f"{SECONDS}_bucket", version, way=kind, status="200"):
            seconds[float(labels["le"])] += int(number)
        return VersionCounts(dict(answers), dict(seconds))

    def copies(self, version: str) -> CopyCounts:
        """Return the results of the copies that one version got."""
        found = {labels["result"]: int(number) for labels, number in self._grown(COPIES, version)}
        readings = self._figures.latest.values()
        changes = (samples(reading.gauges, LARGEST, model=self._model, version=version) for reading in readings)
        return CopyCounts(**found, largest=max((value for each in changes for _, value in each), default=0.0))

    def fallbacks(self, version: str) -> int:
        """Return the number of requests that the default version answered in place of this one."""
        return int(sum(number for _, number in self._grown(FALLBACKS, version)))

    def _grown(self, name: str, version: str, **labels: str) -> Iterator[tuple[Mapping[str, str], float]]:
        return samples(self._figures.growth, name, model=self._model, version=version, **labels)


@dataclass(frozen=True)
class ModelTotals:
    """The gateways' counts for one model since the first reading."""

    waited_s: float = 0.0
    requests: float = 0.0
    in_engine_s: float = 0.0
    refused: float = 0.0

    @classmethod
    def of(cls, growth: Mapping[Series, float], model: str) -> "ModelTotals":
        """Return the counts of one model."""
        return cls(*(total(growth, f"marina_gateway_{name}", model=model) for name in LOAD))


@dataclass(frozen=True)
class ModelLoad:
    """The load of one model between two readings: mean wait in ms, mean requests in the engine, refused requests."""

    wait_ms: float
    outstanding: float
    refused: float

    @classmethod
    def between(cls, before: ModelTotals, after: ModelTotals, seconds: float) -> "ModelLoad":
        """Return the load between two counts that are `seconds` apart."""
        count = after.requests - before.requests
        wait_ms = 1000 * (after.waited_s - before.waited_s) / count if count else 0.0
        return cls(wait_ms, (after.in_engine_s - before.in_engine_s) / seconds, after.refused - before.refused)
