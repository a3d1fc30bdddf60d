import random

import pytest
from scipy.stats import mannwhitneyu

from loadtest.round_stats import Percentiles, Spread, judge, mann_whitney, percentile


@pytest.mark.parametrize("seed", range(6))
def test_mann_whitney_few_rounds_equals_scipy(seed: int) -> None:
    draw = random.Random(seed)
    a = [draw.gauss(10, 1) for _ in range(7)]
    b = [draw.gauss(10 + seed / 3, 1) for _ in range(8)]
    assert mann_whitney(a, b) == pytest.approx(mannwhitneyu(a, b, method="exact").pvalue, abs=1e-9)


def test_mann_whitney_many_rounds_approximates_scipy() -> None:
    draw = random.Random(1)
    a, b = ([draw.gauss(mean, 1) for _ in range(30)] for mean in (10, 10.7))
    assert mann_whitney(a, b) == pytest.approx(mannwhitneyu(a, b).pvalue, abs=0.01)


def test_judge_same_server_rarely_differs() -> None:
    draw = random.Random(2)
    kinds = [judge(*([draw.gauss(100, 5) for _ in range(6)] for _ in range(2))).kind for _ in range(30)]
    assert kinds.count("open") >= 25


def test_judge_clear_difference_has_direction_and_bounds() -> None:
    verdict = judge([100, 102, 98, 101, 99], [120, 122, 118, 121, 119])
    assert verdict.kind == "higher"
    assert verdict.low > 1.15
    assert verdict.high < 1.25
    assert judge([120, 122, 118, 121, 119], [100, 102, 98, 101, 99]).kind == "lower"


def test_judge_three_rounds_are_too_few() -> None:
    assert judge([1, 1, 1], [9, 9, 9]).kind == "too few"


def test_judge_equal_rounds_are_open() -> None:
    verdict = judge([5.0] * 5, [5.0] * 5)
    assert (verdict.kind, verdict.ratio, verdict.chance) == ("open", 1.0, 1.0)


@pytest.mark.parametrize(("percent", "expected"), [(1, 1), (50, 50), (95, 95), (99, 99), (99.9, 100), (100, 100)])
def test_percentile_is_nearest_rank(percent: float, expected: float) -> None:
    assert percentile([float(value) for value in range(1, 101)], percent) == expected


def test_percentiles_few_values_are_measured_values() -> None:
    assert Percentiles.of([30.0, 10.0, 20.0]) == Percentiles(20.0, 30.0, 30.0, 30.0, 30.0, 30.0)
    assert Percentiles.of([7.0]) == Percentiles(7.0, 7.0, 7.0, 7.0, 7.0, 7.0)


def test_spread_is_sample_deviation() -> None:
    assert Spread.of([2.0, 4.0, 6.0]) == Spread(mean=4.0, std=2.0)


def test_spread_single_value_is_zero() -> None:
    assert Spread.of([5.0]) == Spread(5.0, 0.0)
