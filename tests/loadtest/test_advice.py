from datetime import UTC, datetime

import pytest

from loadtest.advice import advise
from loadtest.measure import Round
from loadtest.plan import Plan
from loadtest.report import Report
from loadtest.target import Batching, Target


def _report(batching: Batching | None, *, clients: int, rate: float, latency_ms: float) -> Report:
    target = Target("http://gateway", "digits", "1.0", "vision", "trained", None, batching)
    plan = Plan(target, (), "none", clients, 100, 1, 0)
    one = Round(100 / rate, 100, (latency_ms,) * 100, (), complete=True)
    return Report(plan, datetime.now(UTC), None, (one,), interrupted=False)


@pytest.mark.parametrize(
    ("now", "clients", "expected"),
    [
        (Batching(32, 50, 1), 8, 8),
        (Batching(8, 5, 2), 8, 4),
        (Batching(2, 50, 1), 8, 4),
        (Batching(6, 50, 1), 8, 8),
        (Batching(8, 5, 1), 8, 4),
        (Batching(1, 5, 4), 2, 1),
    ],
    ids=["never fills", "never fills at either worker", "leaves some", "almost fits", "fits", "nothing to batch"],
)
def test_the_batch_follows_the_requests_at_each_worker(now: Batching, clients: int, expected: int) -> None:
    advice = advise(_report(now, clients=clients, rate=100.0, latency_ms=80.0))
    assert advice is not None
    assert advice.batch_size == expected


def test_the_delay_follows_the_rate_at_which_a_batch_fills() -> None:
    advice = advise(_report(Batching(2, 50, 1), clients=8, rate=500.0, latency_ms=80.0))
    assert advice is not None
    assert (advice.batch_size, advice.max_batch_delay_ms) == (4, 6)
    assert "500/s" in advice.why_max_batch_delay


def test_the_delay_stays_below_half_the_median_latency() -> None:
    advice = advise(_report(Batching(2, 50, 1), clients=8, rate=60.0, latency_ms=20.0))
    assert advice is not None
    assert advice.max_batch_delay_ms == 10


def test_a_batch_of_one_waits_for_nobody() -> None:
    advice = advise(_report(Batching(4, 50, 4), clients=4, rate=60.0, latency_ms=20.0))
    assert advice is not None
    assert (advice.batch_size, advice.max_batch_delay_ms) == (1, 0)


@pytest.mark.parametrize("delay", [1, 2, 6, 10])
def test_something_new_is_tried(delay: int) -> None:
    advice = advise(_report(Batching(2, delay, 1), clients=8, rate=500.0, latency_ms=80.0))
    assert advice is not None
    assert advice.max_batch_delay_ms != delay


def test_without_the_present_settings_there_is_no_advice() -> None:
    assert advise(_report(None, clients=8, rate=100.0, latency_ms=80.0)) is None
