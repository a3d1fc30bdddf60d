"""Rates from costs: the part that bounds them, the limits in order, and the needs of a plan."""

from dataclasses import replace

import pytest

from bench.capacity.costs import Line
from bench.capacity.forecast import Assumptions, bounds, error, limits, line, plan, predicted, rising, series
from tests.bench.capacity.round_costs import COSTS, PICTURE, STATE

ASSUMED = Assumptions(busy=0.5, cores=10, memory_gb=64, network_gbit=16, looking=0.05, rollout_s=3610, series=1e6)


def test_per_engine_is_bounded_by_processors_or_network() -> None:
    assert ASSUMED.per_engine(PICTURE) == pytest.approx(500)  # half of 10 cores, 10 ms each
    narrow = replace(ASSUMED, network_gbit=0.84)
    assert narrow.per_engine(PICTURE) == pytest.approx(250)  # half of 105 MB/s, 210 KB each
    assert ASSUMED.per_gateway(PICTURE) == pytest.approx(1000)


def test_plan_adds_up() -> None:
    found = plan(COSTS, PICTURE, ASSUMED, 100_000)
    assert found.engine_cores == pytest.approx(2000)
    assert found.engines == 200
    assert found.engines * ASSUMED.cores >= found.engine_cores
    assert found.gateways == 100
    assert found.workers_each == 9
    assert found.memory_each_gb == pytest.approx(3.1)
    assert found.from_clients * 8 == pytest.approx(160e9)
    assert found.in_flight == pytest.approx(2000)
    assert found.edge_cores is None


def test_plan_cells_stay_below_every_limit() -> None:
    found = plan(COSTS, PICTURE, ASSUMED, 100_000)
    assert found.engines_each_cell * COSTS.looking.each <= ASSUMED.looking
    assert found.rollout_each_cell_s <= ASSUMED.rollout_s
    assert found.cells * found.engines_each_cell >= found.engines
    assert found.cells * found.gateways_each_cell >= found.gateways
    assert found.cells == 4


def test_plan_network_may_need_more_gateway_hosts_than_processors() -> None:
    found = plan(COSTS, PICTURE, ASSUMED, 100_000)
    assert found.gateway_hosts > found.gateways / ASSUMED.cores
    assert found.gateway_hosts * ASSUMED.bytes_s >= found.from_clients


def test_plan_small_load_needs_one_of_each() -> None:
    found = plan(COSTS, STATE, ASSUMED, 1)
    assert (found.engines, found.gateways, found.gateway_hosts, found.cells) == (1, 1, 1, 1)
    assert found.edge_cores == pytest.approx(0.000014)


def test_limits_lowest_comes_first() -> None:
    found = limits(COSTS, PICTURE, ASSUMED)
    assert [limit.rate for limit in found] == sorted(limit.rate for limit in found)
    rates = {limit.what: limit.rate for limit in found}
    assert rates["one gateway process"] == pytest.approx(1000)
    assert rates["one engine host"] == pytest.approx(500)
    assert rates["gateways watching engines"] == pytest.approx(500 * 50)
    assert rates["rollout"] == pytest.approx(500 * 400)
    assert rates["network card of one host in front"] == pytest.approx(1e9 / 210_000)


def test_limits_constant_costs_never_saturate() -> None:
    still = replace(COSTS, looking=Line(0.1, 0.0), rollout=Line(10.0, 0.0))
    rates = {limit.what: limit.rate for limit in limits(still, PICTURE, ASSUMED)}
    assert rates["gateways watching engines"] == rates["rollout"] == float("inf")
    assert plan(still, PICTURE, ASSUMED, 100_000).cells == 1


def test_limits_prometheus_rate_is_that_of_its_series() -> None:
    rate = next(limit.rate for limit in limits(COSTS, PICTURE, ASSUMED) if limit.what == "one Prometheus")
    assert series(COSTS, PICTURE, ASSUMED, rate) == pytest.approx(ASSUMED.series, rel=0.01)


def test_rising_finds_the_rate() -> None:
    assert rising(lambda rate: rate**2, 1e8) == pytest.approx(1e4, rel=0.002)


@pytest.mark.parametrize(("engines", "rate"), [(1, 40), (2, 80), (3, 120)])
def test_predicted_slow_model_is_bound_by_engines(engines: int, rate: float) -> None:
    bound, found = predicted(bounds(PICTURE, engines, 0.4, 2))
    assert bound == "engines"
    assert found == pytest.approx(rate)


def test_predicted_everything_on_one_machine_is_bound_by_it() -> None:
    bound, rate = predicted(bounds(PICTURE, 3, 2.0, 2))
    assert bound == "this machine"
    assert rate == pytest.approx(2 / 0.011)


def test_bounds_use_at_rest_is_subtracted() -> None:
    bound, rate = predicted(bounds(PICTURE, 2, 0.4, 2, rest=0.1))
    assert bound == "engines"
    assert rate == pytest.approx(60)


def test_predicted_gateway_has_one_core() -> None:
    bound, rate = predicted(bounds(STATE, 8, 4.0, 64))
    assert bound == "gateway"
    assert rate == pytest.approx(20_000)


def test_error_is_relative_to_the_median_and_signed() -> None:
    assert error(110, [100, 90, 500]) == pytest.approx(0.1)
    assert error(80, [100]) == pytest.approx(-0.2)


def test_line_goes_through_its_points() -> None:
    found = line({1: 12.0, 2: 15.0, 3: 18.0})
    assert found.each == pytest.approx(3)
    assert found.at(10) == pytest.approx(39)


def test_line_is_never_below_zero() -> None:
    found = line({1: 1.0, 2: 8.0, 3: 16.0})
    assert found.base == 0
    assert found.each == pytest.approx((1 + 16 + 48) / 14)


@pytest.mark.parametrize("points", [{1: 5.0}, {1: 6.0, 2: 4.0}])
def test_line_one_point_or_falling_points_is_flat(points: dict[int, float]) -> None:
    assert line(points).each == 0
    assert line(points).base == 5
