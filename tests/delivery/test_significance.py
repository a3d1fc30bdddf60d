"""The tests that a version under trial is judged by give the textbooks' numbers."""

import math
import random
from bisect import bisect_left

import pytest
from scipy.stats import fisher_exact

from delivery.significance import Interval, p_more_frequent, quantile_interval, ratio_interval, share_interval, z_value

BOUNDS = [0.001 * 1.26**step for step in range(40)] + [math.inf]


def counted(values: list[float]) -> dict[float, int]:
    """Values as a histogram has them: how many up to each bound."""
    ordered = sorted(values)
    return {bound: bisect_left(ordered, bound) for bound in BOUNDS}


@pytest.mark.parametrize(
    ("table", "chance"),
    [
        ((4, 4, 0, 4), 1 / 70),  # Fisher's own lady tasting tea, all cups right
        ((3, 4, 1, 4), 17 / 70),
        ((0, 10, 0, 100), 1.0),
        ((10, 10, 0, 0), 1.0),
        ((1, 1, 0, 99), 0.01),
    ],
)
def test_p_more_frequent_known_values(table: tuple[int, int, int, int], chance: float) -> None:
    assert p_more_frequent(*table) == pytest.approx(chance)


@pytest.mark.parametrize("seed", range(40))
def test_p_more_frequent_agrees_with_scipy(seed: int) -> None:
    chance = random.Random(seed)
    total, other = chance.choice([5, 60, 2000, 30_000]), chance.choice([7, 300, 50_000])
    hits, other_hits = chance.randint(0, total // 3), chance.randint(0, other // 3)
    expected = fisher_exact([[hits, total - hits], [other_hits, other - other_hits]], alternative="greater")
    assert p_more_frequent(hits, total, other_hits, other) == pytest.approx(expected.pvalue, rel=1e-5, abs=1e-12)


def test_share_interval_known_bounds() -> None:
    half = share_interval(5, 10, 0.025)
    assert (half.low, half.estimate, half.high) == pytest.approx((0.2366, 0.5, 0.7634), abs=1e-4)
    assert share_interval(0, 10, 0.025).high == pytest.approx(0.2775, abs=1e-4)
    assert share_interval(0, 0, 0.025) == Interval(0.0, 0.0, 1.0)


def test_z_value_known_value() -> None:
    assert z_value(0.025) == pytest.approx(1.959964, abs=1e-6)


def test_quantile_interval_small_sample_is_none() -> None:
    assert quantile_interval({}, 0.95, 0.01) is None
    assert quantile_interval(counted([0.01] * 20), 0.95, 0.01) is None
    found = quantile_interval(counted([0.01] * 500), 0.95, 0.01)
    assert found is not None
    assert found.low <= found.estimate <= found.high
    assert found.estimate == pytest.approx(0.01, rel=0.3)


def test_ratio_interval_covers_the_true_ratio() -> None:
    chance, held, rounds = random.Random(5), 0, 300
    for _ in range(rounds):
        old = quantile_interval(counted([chance.lognormvariate(-4, 0.5) for _ in range(1500)]), 0.95, 0.05)
        new = quantile_interval(counted([1.4 * chance.lognormvariate(-4, 0.5) for _ in range(300)]), 0.95, 0.05)
        assert old is not None
        assert new is not None
        found = ratio_interval(new, old)
        held += found.low <= 1.4 <= found.high
    # Each bound is missed by 1 in 20: nine in ten hold, and three standard deviations are left for chance.
    assert held / rounds > 0.9 - 3 * math.sqrt(0.09 / rounds)


def test_quantile_interval_beyond_the_last_bound() -> None:
    found = quantile_interval(counted([1e6] * 500), 0.95, 0.01)
    assert found is not None
    assert found.estimate == BOUNDS[-2]
