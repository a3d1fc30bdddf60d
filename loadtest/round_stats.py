"""Statistics of rounds: percentiles, mean and spread, and the significance of a difference between two runs.

The significance needs no assumption about the distribution of rounds. The Mann-Whitney U test gives the probability
that chance alone orders the rounds like this: exactly for few rounds, from 20,000 drawn orders for many. A bootstrap
gives the 95 % interval of the ratio of the medians.
"""

import itertools
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

ALPHA = 0.05
EXACT = 200_000  # orders; with more, a sample of them is drawn
DRAWS, RESAMPLES = 20_000, 5_000
FEWEST = 4  # rounds on each side: with three, not even the clearest order is rarer than one in ten


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1 in the denominator), which is 0 for a single value."""

    mean: float
    std: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of at least one value."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0)


@dataclass(frozen=True)
class Percentiles:
    """Percentiles of latencies in ms."""

    p50: float
    p90: float
    p95: float
    p99: float
    p999: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Percentiles":
        """Return the percentiles of at least one value, in any order."""
        ranked = sorted(values)
        return cls(*(percentile(ranked, percent) for percent in (50, 90, 95, 99, 99.9, 100)))


def percentile(ranked: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile: the smallest value that at least `percent` % of the values do not exceed.

    `ranked` is in ascending order and not empty; 0 < percent <= 100. The result is always a measured value, so p99 of
    fewer than 100 values is their maximum.
    """
    return ranked[math.ceil(percent / 100 * len(ranked)) - 1]


@dataclass(frozen=True)
class Significance:
    """Run B beside run A: the ratio of their medians, its 95 % interval, and the probability of chance alone."""

    ratio: float
    low: float
    high: float
    chance: float
    kind: Literal["higher", "lower", "open", "too few"]


def judge(before: Sequence[float], after: Sequence[float]) -> Significance:
    """Compare one figure of the rounds of A and B. Each needs one value; fewer than four are never significant."""
    ratio = _ratio(before, after)
    low, high = bounds(before, after)
    if min(len(before), len(after)) < FEWEST:
        return Significance(ratio, low, high, 1.0, "too few")
    chance = mann_whitney(before, after)
    if chance >= ALPHA or low <= 1 <= high:
        return Significance(ratio, low, high, chance, "open")
    return Significance(ratio, low, high, chance, "higher" if ratio > 1 else "lower")


def mann_whitney(before: Sequence[float], after: Sequence[float]) -> float:
    """Return the two-sided p-value: the share of all orders whose ranks differ as much as these; ties share ranks."""
    ranks = _ranks([*before, *after])
    size, whole = len(before), len(ranks)
    middle = size * (whole + 1) / 2
    found = abs(sum(ranks[:size]) - middle) - 1e-9
    if math.comb(whole, size) <= EXACT:
        sums = [sum(chosen) for chosen in itertools.combinations(ranks, size)]
        return sum(abs(one - middle) >= found for one in sums) / len(sums)
    draw = random.Random(0)  # noqa: S311 - the same result each time, nothing secret
    as_far = sum(abs(sum(draw.sample(ranks, size)) - middle) >= found for _ in range(DRAWS))
    return (as_far + 1) / (DRAWS + 1)


def bounds(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the ratio of the medians, from resampled rounds."""
    draw = random.Random(0)  # noqa: S311 - as above
    found = sorted(
        _ratio(draw.choices(before, k=len(before)), draw.choices(after, k=len(after))) for _ in range(RESAMPLES)
    )
    return found[int(0.025 * RESAMPLES)], found[int(0.975 * RESAMPLES)]


def _ratio(before: Sequence[float], after: Sequence[float]) -> float:
    under = statistics.median(before)
    return statistics.median(after) / under if under else math.inf


def _ranks(values: Sequence[float]) -> list[float]:
    """Return ranks from 1; equal values share the mean of their ranks."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    ranks = [0.0] * len(values)
    for _, group in itertools.groupby(enumerate(order, 1), key=lambda entry: values[entry[1]]):
        members = list(group)
        shared = statistics.fmean(rank for rank, _ in members)
        for _, index in members:
            ranks[index] = shared
    return ranks
