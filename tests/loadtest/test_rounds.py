import random

import pytest

from loadtest.load_client import RequestResult
from loadtest.round_stats import Percentiles
from loadtest.rounds import RoundResult, Tally, histogram, over_time, percentile_curve


def _round(began: float, seconds: float, ended: list[float], failed: tuple[float, ...] = ()) -> RoundResult:
    errors = (("timeout", len(failed)),) if failed else ()
    return RoundResult(seconds, len(ended), (10.0,) * len(ended), errors, True, began, tuple(ended), failed)


def test_over_time_counts_each_request_once() -> None:
    first = _round(100.0, 2.0, [0.05 * n for n in range(40)], (1.0,))
    second = _round(103.0, 2.0, [0.1 * n for n in range(20)])
    series = over_time([first, second])
    assert sum(one.answers for one in series.bins) == 60
    assert sum(one.errors for one in series.bins) == 1
    assert len(series.bins) <= 150


def test_over_time_pause_between_rounds_has_no_rate() -> None:
    series = over_time([_round(0.0, 1.0, [0.5]), _round(5.0, 1.0, [0.5])])
    assert {one.rate for one in series.bins if 1.0 <= one.at_s < 4.9} == {None}


def test_over_time_long_run_has_wider_bins() -> None:
    assert len(over_time([_round(0.0, 7200.0, [1.0])]).bins) <= 150


def test_percentile_curve_rises_to_maximum() -> None:
    draw = random.Random(0)
    values = [draw.expovariate(0.1) for _ in range(5000)]
    points = percentile_curve(values)
    assert points[-1] == (100 * (1 - 1 / 5000), max(values))
    assert [latency for _, latency in points] == sorted(latency for _, latency in points)
    assert [percent for percent, _ in points] == sorted(percent for percent, _ in points)
    near = min(points, key=lambda point: abs(point[0] - 99.9))
    assert near[1] == pytest.approx(Percentiles.of(values).p999, rel=0.1)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_percentile_curve_and_histogram_accept_few_values(count: int) -> None:
    values = [3.0] * count
    assert [latency for _, latency in percentile_curve(values)] == [3.0] * len(percentile_curve(values))
    assert sum(number for _, _, number in histogram(values)) == count


def test_histogram_counts_each_request_once() -> None:
    draw = random.Random(3)
    values = [draw.lognormvariate(2, 1) for _ in range(3000)]
    assert sum(number for _, _, number in histogram(values)) == 3000


def test_tally_error_counts_no_prediction_and_no_latency() -> None:
    clock = iter([100.0, 102.0])
    tally = Tally(lambda: next(clock))
    tally.add(RequestResult(1, 10.0))
    tally.add(RequestResult(0, 9999.0, "timeout"))
    tally.add(RequestResult(3, 20.0))
    one = tally.stop(complete=True)
    assert one.rate == 2.0
    assert one.latencies_ms == (10.0, 20.0)
    assert one.errors == (("timeout", 1),)
    assert (one.requests, one.failed) == (3, 1)


def test_tally_errors_alone_have_rate_zero() -> None:
    tally = Tally()
    tally.add(RequestResult(0, 1.0, "503 no_worker"))
    assert tally.stop(complete=True).rate == 0.0
