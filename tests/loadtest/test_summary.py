import pytest

from loadtest.round_stats import Percentiles, Spread, percentile


@pytest.mark.parametrize(("percent", "expected"), [(1, 1), (50, 50), (95, 95), (99, 99), (99.9, 100), (100, 100)])
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(percent: float, expected: float) -> None:
    assert percentile([float(value) for value in range(1, 101)], percent) == expected


def test_a_percentile_of_few_values_is_one_of_them() -> None:
    assert Percentiles.of([30.0, 10.0, 20.0]) == Percentiles(20.0, 30.0, 30.0, 30.0, 30.0, 30.0)
    assert Percentiles.of([7.0]) == Percentiles(7.0, 7.0, 7.0, 7.0, 7.0, 7.0)


def test_the_spread_is_the_samples() -> None:
    assert Spread.of([2.0, 4.0, 6.0]) == Spread(mean=4.0, std=2.0)


def test_one_value_does_not_spread() -> None:
    assert Spread.of([5.0]) == Spread(5.0, 0.0)
