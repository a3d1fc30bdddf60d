"""Many numbers in a few: mean and spread, percentiles."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1 in the denominator); a single value spreads by 0."""

    mean: float
    std: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0)


@dataclass(frozen=True)
class Percentiles:
    """Latencies in ms: medians, tails and the worst."""

    p50: float
    p90: float
    p95: float
    p99: float
    p999: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Percentiles":
        """Of at least one value, in any order."""
        ranked = sorted(values)
        return cls(*(percentile(ranked, percent) for percent in (50, 90, 95, 99, 99.9, 100)))


def percentile(ranked: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest of the values that at least `percent` % of them do not exceed.

    `ranked` is sorted rising and not empty; 0 < percent <= 100. It is always a value that was measured, so p99 of
    fewer than 100 values is their maximum.
    """
    return ranked[math.ceil(percent / 100 * len(ranked)) - 1]
