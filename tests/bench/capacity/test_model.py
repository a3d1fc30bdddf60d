"""What binds, and how far a prediction lies from what was measured."""

import pytest

from bench.capacity.model import bounds, error, line, predicted
from tests.bench.capacity.made import PICTURE, STATE


@pytest.mark.parametrize(("engines", "rate"), [(1, 40), (2, 80), (3, 120)])
def test_engines_bind_where_the_model_is_slow_and_each_brings_the_same(engines: int, rate: float) -> None:
    bound, found = predicted(bounds(PICTURE, engines, 0.4, 2))
    assert bound == "engines"
    assert found == pytest.approx(rate)


def test_the_machine_binds_where_all_of_it_runs_on_one() -> None:
    bound, rate = predicted(bounds(PICTURE, 3, 2.0, 2))
    assert bound == "this machine"
    assert rate == pytest.approx(2 / 0.011)


def test_what_an_engine_uses_at_rest_is_not_there_for_requests() -> None:
    bound, rate = predicted(bounds(PICTURE, 2, 0.4, 2, rest=0.1))
    assert bound == "engines"
    assert rate == pytest.approx(60)


def test_a_gateway_has_one_core_whatever_the_machine_has() -> None:
    bound, rate = predicted(bounds(STATE, 8, 4.0, 64))
    assert bound == "gateway"
    assert rate == pytest.approx(20_000)


def test_the_error_is_against_the_median_and_has_a_sign() -> None:
    assert error(110, [100, 90, 500]) == pytest.approx(0.1)
    assert error(80, [100]) == pytest.approx(-0.2)


def test_a_line_goes_through_its_points() -> None:
    found = line({1: 12.0, 2: 15.0, 3: 18.0})
    assert found.each == pytest.approx(3)
    assert found.at(10) == pytest.approx(39)


def test_nothing_costs_less_than_nothing() -> None:
    found = line({1: 1.0, 2: 8.0, 3: 16.0})
    assert found.base == 0
    assert found.each == pytest.approx((1 + 16 + 48) / 14)


@pytest.mark.parametrize("points", [{1: 5.0}, {1: 6.0, 2: 4.0}])
def test_one_point_or_a_falling_line_says_nothing_of_growth(points: dict[int, float]) -> None:
    assert line(points).each == 0
    assert line(points).base == 5
