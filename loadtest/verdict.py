"""Whether two groups of rounds differ, or whether the noise between rounds would give the same.

Two questions, each answered without assuming how rounds are spread: the Mann-Whitney U test says how often a difference
of ranks like this comes about by chance, exactly for few rounds, by 20,000 drawn orders for many; a bootstrap says
between which bounds the ratio of the medians lies in 95 of 100 cases.
"""

import itertools
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

ALPHA = 0.05
EXACT = 200_000  # orders that are looked at one by one
DRAWS, RESAMPLES = 20_000, 5_000
FEWEST = 4  # rounds on each side: with three, not even the clearest order is rarer than one in ten


@dataclass(frozen=True)
class Verdict:
    """B beside A: the ratio of their medians, its 95 % bounds, and how likely chance alone would give it."""

    ratio: float
    low: float
    high: float
    chance: float
    kind: Literal["higher", "lower", "open", "too few"]


def judge(before: Sequence[float], after: Sequence[float]) -> Verdict:
    """Compare one figure of each round of A and B; each needs a value, and a verdict four."""
    ratio = _ratio(before, after)
    low, high = bounds(before, after)
    if min(len(before), len(after)) < FEWEST:
        return Verdict(ratio, low, high, 1.0, "too few")
    chance = mann_whitney(before, after)
    if chance >= ALPHA or low <= 1 <= high:
        return Verdict(ratio, low, high, chance, "open")
    return Verdict(ratio, low, high, chance, "higher" if ratio > 1 else "lower")


def mann_whitney(before: Sequence[float], after: Sequence[float]) -> float:
    """The two-sided p-value: the share of all orders whose ranks lie as far apart as these, ties shared."""
    ranks = _ranks([*before, *after])
    size, whole = len(before), len(ranks)
    middle = size * (whole + 1) / 2
    found = abs(sum(ranks[:size]) - middle) - 1e-9
    if math.comb(whole, size) <= EXACT:
        sums = [sum(chosen) for chosen in itertools.combinations(ranks, size)]
        return sum(abs(one - middle) >= found for one in sums) / len(sums)
    draw = random.Random(0)  # noqa: S311 - the same answer each time, nothing secret
    as_far = sum(abs(sum(draw.sample(ranks, size)) - middle) >= found for _ in range(DRAWS))
    return (as_far + 1) / (DRAWS + 1)


def bounds(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """Between which values the ratio of medians lies in 95 of 100 resamples of the rounds."""
    draw = random.Random(0)  # noqa: S311 - as above
    found = sorted(
        _ratio(draw.choices(before, k=len(before)), draw.choices(after, k=len(after))) for _ in range(RESAMPLES)
    )
    return found[int(0.025 * RESAMPLES)], found[int(0.975 * RESAMPLES)]


def _ratio(before: Sequence[float], after: Sequence[float]) -> float:
    under = statistics.median(before)
    return statistics.median(after) / under if under else math.inf


def _ranks(values: Sequence[float]) -> list[float]:
    """From 1; equal values share the mean of their ranks."""
    order = sorted(range(len(values)), key=lambda place: values[place])
    ranks = [0.0] * len(values)
    for _, group in itertools.groupby(enumerate(order, 1), key=lambda entry: values[entry[1]]):
        members = list(group)
        shared = statistics.fmean(rank for rank, _ in members)
        for _, place in members:
            ranks[place] = shared
    return ranks
