"""What a plan needs follows from the costs; what gives in first comes first."""

from dataclasses import replace

import pytest

from bench.capacity.costs import Line
from bench.capacity.limits import Ground, limits, rising, series
from bench.capacity.plan import plan
from tests.bench.capacity.made import COSTS, PICTURE, STATE

GROUND = Ground(busy=0.5, cores=10, memory_gb=64, network_gbit=16, looking=0.05, rollout_s=3610, series=1e6)


def test_a_host_gives_what_its_processors_or_its_network_allow() -> None:
    assert GROUND.per_engine(PICTURE) == pytest.approx(500)  # half of 10 cores, 10 ms each
    narrow = replace(GROUND, network_gbit=0.84)
    assert narrow.per_engine(PICTURE) == pytest.approx(250)  # half of 105 MB/s, 210 KB each
    assert GROUND.per_gateway(PICTURE) == pytest.approx(1000)


def test_a_plan_adds_up() -> None:
    found = plan(COSTS, PICTURE, GROUND, 100_000)
    assert found.engine_cores == pytest.approx(2000)
    assert found.engines == 200
    assert found.engines * GROUND.cores >= found.engine_cores
    assert found.gateways == 100
    assert found.workers_each == 9
    assert found.memory_each_gb == pytest.approx(3.1)
    assert found.from_clients * 8 == pytest.approx(160e9)
    assert found.in_flight == pytest.approx(2000)
    assert found.edge_cores is None


def test_cells_stay_below_every_limit() -> None:
    found = plan(COSTS, PICTURE, GROUND, 100_000)
    assert found.engines_each_cell * COSTS.looking.each <= GROUND.looking
    assert found.rollout_each_cell_s <= GROUND.rollout_s
    assert found.cells * found.engines_each_cell >= found.engines
    assert found.cells * found.gateways_each_cell >= found.gateways
    assert found.cells == 4


def test_network_of_the_gateways_may_ask_for_more_hosts_than_their_processors_do() -> None:
    found = plan(COSTS, PICTURE, GROUND, 100_000)
    assert found.gateway_hosts > found.gateways / GROUND.cores
    assert found.gateway_hosts * GROUND.bytes_s >= found.from_clients


def test_a_small_load_needs_one_of_each() -> None:
    found = plan(COSTS, STATE, GROUND, 1)
    assert (found.engines, found.gateways, found.gateway_hosts, found.cells) == (1, 1, 1, 1)
    assert found.edge_cores == pytest.approx(0.000014)


def test_what_gives_in_first_comes_first() -> None:
    found = limits(COSTS, PICTURE, GROUND)
    assert [limit.rate for limit in found] == sorted(limit.rate for limit in found)
    rates = {limit.what: limit.rate for limit in found}
    assert rates["one gateway process"] == pytest.approx(1000)
    assert rates["one engine host"] == pytest.approx(500)
    assert rates["gateways looking at engines"] == pytest.approx(500 * 50)
    assert rates["rollout"] == pytest.approx(500 * 400)
    assert rates["network card of one host in front"] == pytest.approx(1e9 / 210_000)


def test_what_does_not_grow_never_gives_in() -> None:
    still = replace(COSTS, looking=Line(0.1, 0.0), rollout=Line(10.0, 0.0))
    rates = {limit.what: limit.rate for limit in limits(still, PICTURE, GROUND)}
    assert rates["gateways looking at engines"] == rates["rollout"] == float("inf")
    assert plan(still, PICTURE, GROUND, 100_000).cells == 1


def test_series_reach_their_limit_where_it_is_said() -> None:
    rate = next(limit.rate for limit in limits(COSTS, PICTURE, GROUND) if limit.what == "one Prometheus")
    assert series(COSTS, PICTURE, GROUND, rate) == pytest.approx(GROUND.series, rel=0.01)


def test_a_rising_function_is_turned_round() -> None:
    assert rising(lambda rate: rate**2, 1e8) == pytest.approx(1e4, rel=0.002)
