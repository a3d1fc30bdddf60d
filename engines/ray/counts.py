"""What one version has answered, how long it took, and what its handlers measured, since the Front started."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds of TorchServe's histograms, which its dashboards know."""


@dataclass
class Histogram:
    """Values by bucket, the last for those beyond all bounds, and their sum."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.buckets[bisect_left(BUCKETS, value)] += 1
        self.total += value


Sample = tuple[str, str, tuple[tuple[str, str], ...], float]
"""What a handler measured: name, kind (counter, gauge or histogram), labels and value."""
Series = tuple[str, tuple[tuple[str, str], ...]]


@dataclass
class Counts:
    """Of one version; times in seconds, each a sum over requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    batches: int = 0
    lost: int = 0
    queue_s: float = 0.0
    inference_s: float = 0.0
    gauges: dict[Series, float] = field(default_factory=dict)
    counters: Counter[Series] = field(default_factory=Counter)
    histograms: dict[Series, Histogram] = field(default_factory=dict)

    def add(self, statuses: Sequence[int], queued: Sequence[float], inside_s: float, samples: Sequence[Sample]) -> None:
        """Count one batch: the status of each request, how long each waited, and how long all were with a worker."""
        self.statuses.update(statuses)
        self.batches += 1
        self.queue_s += sum(queued)
        self.inference_s += inside_s * len(statuses)
        for name, kind, labels, value in samples:
            self._measure((name, labels), kind, value)

    def plain(self) -> dict[str, Any]:
        """As values that travel."""
        return {
            "statuses": dict(self.statuses),
            "batches": self.batches,
            "lost": self.lost,
            "queue_s": self.queue_s,
            "inference_s": self.inference_s,
            "gauges": dict(self.gauges),
            "counters": dict(self.counters),
            "histograms": {key: (list(each.buckets), each.total) for key, each in self.histograms.items()},
        }

    def _measure(self, series: Series, kind: str, value: float) -> None:
        if kind == "counter":
            self.counters[series] += value  # type: ignore[assignment]  # a Counter adds floats as well
        elif kind == "gauge":
            self.gauges[series] = value
        else:
            self.histograms.setdefault(series, Histogram()).add(value)


def together(reports: Sequence[Mapping[Any, Mapping[str, Any]]]) -> dict[Any, dict[str, Any]]:
    """What several Fronts report of their lines, as one: everything added up, of a gauge the last one told."""
    lines: dict[Any, dict[str, Any]] = {}
    for report in reports:
        for key, line in report.items():
            known = lines.get(key)
            lines[key] = dict(line) if known is None else _added(known, line)
    return lines


def _added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    mine, theirs = one["counts"], other["counts"]
    counts = {name: mine[name] + theirs[name] for name in ("batches", "lost", "queue_s", "inference_s")}
    counts |= {name: dict(Counter(mine[name]) + Counter(theirs[name])) for name in ("statuses", "counters")}
    counts["gauges"] = {**mine["gauges"], **theirs["gauges"]}
    counts["histograms"] = dict(mine["histograms"])
    for series, (buckets, total) in theirs["histograms"].items():
        before, sum_before = counts["histograms"].get(series, ([0] * len(buckets), 0.0))
        counts["histograms"][series] = ([a + b for a, b in zip(before, buckets, strict=True)], sum_before + total)
    return {"inside": one["inside"] + other["inside"], "counts": counts}
