"""When a model gets a worker more or less, by what the gateway has counted."""

import pytest

from delivery.scaling import Load, Scaler, Totals, read_totals
from errors import ConfigError
from settings import load
from settings.schema import Scaling, WorkerLimits

SCALING = Scaling(models={}, target_queue_ms=20, calm_queue_ms=2, up_after_s=5, down_after_s=60, check_s=1)
BUSY, CALM, BETWEEN = Load(30, 8, 0), Load(0, 0.1, 0), Load(10, 4, 0)


def scaler(least: int = 1, most: int = 4) -> Scaler:
    return Scaler(WorkerLimits(min_workers=least, max_workers=most), SCALING)


def seen(scaler: Scaler, load: Load, workers: int, seconds: range) -> list[int]:
    return [scaler.wanted(float(now), load, workers, batch_size=4) for now in seconds]


def test_a_wait_that_lasts_adds_one_worker() -> None:
    assert seen(scaler(), BUSY, 2, range(7)) == [2, 2, 2, 2, 2, 3, 3]


def test_refused_requests_count_as_a_wait() -> None:
    assert seen(scaler(), Load(0, 8, 3), 1, range(6))[-1] == 2


def test_a_burst_that_is_over_changes_nothing() -> None:
    one = scaler()
    assert seen(one, BUSY, 2, range(4)) == [2] * 4
    assert seen(one, BETWEEN, 2, range(4, 6)) == [2] * 2
    assert seen(one, BUSY, 2, range(6, 11)) == [2] * 5


def test_calm_that_lasts_takes_one_worker() -> None:
    assert seen(scaler(), CALM, 3, range(61)) == [3] * 60 + [2]


def test_between_the_two_nothing_changes_however_long_it_lasts() -> None:
    assert set(seen(scaler(), BETWEEN, 2, range(500))) == {2}


def test_workers_that_are_at_work_stay_though_nobody_waits() -> None:
    assert set(seen(scaler(), Load(0, 3.0, 0), 2, range(500))) == {2}


def test_the_limits_hold() -> None:
    assert set(seen(scaler(1, 2), BUSY, 2, range(100))) == {2}
    assert set(seen(scaler(2, 4), CALM, 2, range(500))) == {2}
    assert seen(scaler(2, 4), CALM, 1, range(1)) == [2]
    assert seen(scaler(1, 2), BUSY, 4, range(1)) == [3]


def test_after_a_change_it_looks_anew() -> None:
    one = scaler()
    assert seen(one, BUSY, 1, range(6))[-1] == 2
    one.changed()
    assert seen(one, BUSY, 2, range(6, 11)) == [2] * 5


def test_the_gateways_counters_become_a_load() -> None:
    text = """
marina_gateway_queue_wait_seconds_bucket{le="0.001",model="digits"} 4.0
marina_gateway_queue_wait_seconds_count{model="digits"} 10.0
marina_gateway_queue_wait_seconds_sum{model="digits"} 0.5
marina_gateway_upstream_seconds_sum{model="digits",status="200"} 2.0
marina_gateway_upstream_seconds_sum{model="digits",status="503"} 1.0
marina_gateway_shed_total{model="digits"} 2.0
"""
    found = read_totals(text)
    assert found == {"digits": Totals(0.5, 10, 3, 2)}
    assert Load.between(Totals(), found["digits"], seconds=2) == Load(50.0, 1.5, 2)
    assert Load.between(found["digits"], Totals(), seconds=2) == Load(0, 0, 0)
    assert Load.between(Totals(), Totals(), seconds=2) == Load(0, 0, 0)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("scaling.calm_queue_ms=20", "calm_queue_ms must be below target_queue_ms"),
        ("scaling.models={digits: {min_workers: 3, max_workers: 2}}", "min_workers must not be above max_workers"),
        ("scaling.models={digits: {min_workers: 0, max_workers: 2}}", "greater than or equal to 1"),
    ],
)
def test_limits_that_make_no_sense_are_refused(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load([override])


def test_nothing_is_scaled_by_default() -> None:
    assert load().scaling.models == {}
