import random

import pytest
from scipy.stats import mannwhitneyu

from loadtest.round_stats import judge, mann_whitney


@pytest.mark.parametrize("seed", range(6))
def test_the_exact_test_agrees_with_scipys(seed: int) -> None:
    draw = random.Random(seed)
    a = [draw.gauss(10, 1) for _ in range(7)]
    b = [draw.gauss(10 + seed / 3, 1) for _ in range(8)]
    assert mann_whitney(a, b) == pytest.approx(mannwhitneyu(a, b, method="exact").pvalue, abs=1e-9)


def test_many_rounds_are_judged_by_drawn_orders() -> None:
    draw = random.Random(1)
    a, b = ([draw.gauss(mean, 1) for _ in range(30)] for mean in (10, 10.7))
    assert mann_whitney(a, b) == pytest.approx(mannwhitneyu(a, b).pvalue, abs=0.01)


def test_rounds_of_one_server_are_not_told_apart_more_often_than_chance_allows() -> None:
    draw = random.Random(2)
    kinds = [judge(*([draw.gauss(100, 5) for _ in range(6)] for _ in range(2))).kind for _ in range(30)]
    assert kinds.count("open") >= 25


def test_a_clear_difference_is_told_with_its_direction_and_bounds() -> None:
    verdict = judge([100, 102, 98, 101, 99], [120, 122, 118, 121, 119])
    assert verdict.kind == "higher"
    assert verdict.low > 1.15
    assert verdict.high < 1.25
    assert judge([120, 122, 118, 121, 119], [100, 102, 98, 101, 99]).kind == "lower"


def test_three_rounds_are_too_few_for_any_verdict() -> None:
    assert judge([1, 1, 1], [9, 9, 9]).kind == "too few"


def test_equal_rounds_do_not_differ() -> None:
    verdict = judge([5.0] * 5, [5.0] * 5)
    assert (verdict.kind, verdict.ratio, verdict.chance) == ("open", 1.0, 1.0)
