from datetime import UTC, datetime

import pytest

from loadtest.advice import advise
from loadtest.plan import LoadPlan
from loadtest.report import LoadReport
from loadtest.rounds import RoundResult
from loadtest.target import Batching, LoadTarget
from tests.loadtest.reports import stress_settings


def _report(
    batching: Batching | None, *, clients: int, rate: float, latency_ms: float, send_rate: float | None = None
) -> LoadReport:
    target = LoadTarget("http://gateway", "digits", "1.0", "vision", "trained", None, batching)
    stress = stress_settings(clients=clients, requests=100, rounds=1, rate=send_rate)
    plan = LoadPlan(stress, (target,), (), "none")
    one = RoundResult(100 / rate, 100, (latency_ms,) * 100, (), complete=True)
    return LoadReport(plan, datetime.now(UTC), None, (one,), interrupted=False)


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
def test_advise_batch_size_follows_requests_per_worker(now: Batching, clients: int, expected: int) -> None:
    advice = advise(_report(now, clients=clients, rate=100.0, latency_ms=80.0))
    assert advice is not None
    assert advice.batch_size == expected


def test_advise_delay_lasts_until_batch_is_full() -> None:
    advice = advise(_report(Batching(2, 50, 4), clients=16, rate=100.0, latency_ms=160.0))
    assert advice is not None
    assert (advice.batch_size, advice.max_batch_delay_ms) == (4, 10)
    advice = advise(_report(Batching(1, 50, 1), clients=2, rate=20.0, latency_ms=100.0))
    assert advice is not None
    assert (advice.batch_size, advice.max_batch_delay_ms) == (2, 12)
    assert "at 20/s a batch of 2 fills in 50.0 ms" in advice.why_max_batch_delay


@pytest.mark.parametrize(
    ("now", "clients", "rate", "latency_ms", "lone_ms"),
    [
        (Batching(8, 5, 1), 16, 17.8, 898.0, 56.2),  # once 449 ms were advised
        (Batching(4, 5, 2), 32, 100.0, 320.0, 20.0),
        (Batching(8, 50, 1), 4, 40.0, 100.0, 12.5),  # four waited 50 ms of their 100 for four more
        (Batching(2, 0, 4), 16, 400.0, 40.0, 10.0),
    ],
)
def test_advise_delay_is_at_most_a_quarter_of_single_client_latency(
    now: Batching, clients: int, rate: float, latency_ms: float, lone_ms: float
) -> None:
    advice = advise(_report(now, clients=clients, rate=rate, latency_ms=latency_ms))
    assert advice is not None
    assert 0 < advice.max_batch_delay_ms <= max(1, lone_ms / 4 + 0.5)
    cost = f"it costs a client that is alone {advice.max_batch_delay_ms} ms on top of some {lone_ms:.1f} ms"
    assert cost in advice.why_max_batch_delay


def test_advise_batch_of_one_has_no_delay() -> None:
    advice = advise(_report(Batching(4, 50, 4), clients=4, rate=60.0, latency_ms=20.0))
    assert advice is not None
    assert (advice.batch_size, advice.max_batch_delay_ms) == (1, 0)


@pytest.mark.parametrize("delay", [0, 1, 2, 6, 10])
def test_advise_never_returns_present_delay(delay: int) -> None:
    advice = advise(_report(Batching(2, delay, 1), clients=8, rate=500.0, latency_ms=80.0))
    assert advice is not None
    assert advice.max_batch_delay_ms != delay


def test_advise_unknown_batching_returns_none() -> None:
    assert advise(_report(None, clients=8, rate=100.0, latency_ms=80.0)) is None


def test_advise_open_loop_returns_none() -> None:
    """Its clients do not limit the requests in flight, and the rules need that limit."""
    assert advise(_report(Batching(8, 5, 1), clients=8, rate=100.0, latency_ms=80.0, send_rate=100.0)) is None
