"""What failed at the engine: sent once more when it was lost, and not at all while the model rests."""

import asyncio

import pytest

from errors import Internal, NoWorker, WorkerLost
from gateway.metrics import Metrics
from gateway.upstream.breaker import CircuitBreaker
from settings.schema import BreakerSettings
from tests.gateway.stage_parts import GivenEngine, answer, breaker_state, failing, request, sample, settle

pytestmark = pytest.mark.anyio


def closed(engine: GivenEngine, metrics: Metrics) -> CircuitBreaker:
    """A breaker that failures do not open."""
    return CircuitBreaker(engine, BreakerSettings(failures=1000, open_ms=60_000), metrics)


async def test_breaker_lost_request_is_resent_once() -> None:
    engine, metrics = GivenEngine(), Metrics()
    failing(engine, WorkerLost("died"), times=1)
    assert await closed(engine, metrics).predict(request([1])) == answer(1)
    assert sample(metrics, "retries_total", model="cartpole") == 1
    failing(engine, WorkerLost("died"))
    engine.seen.clear()
    with pytest.raises(WorkerLost):
        await closed(engine, metrics).predict(request([1]))
    assert len(engine.seen) == 2


@pytest.mark.parametrize(("error", "within_s"), [(Internal("handler"), 60), (NoWorker("x"), 60), (WorkerLost("x"), -1)])
async def test_breaker_other_or_late_failure_is_not_resent(error: Exception, within_s: float) -> None:
    engine = GivenEngine()
    failing(engine, error)
    with pytest.raises(type(error)):
        await closed(engine, Metrics()).predict(request([1], within_s=within_s))
    assert len(engine.seen) == 1


async def test_breaker_opens_after_failures_and_closes_after_success() -> None:
    engine, metrics = GivenEngine(), Metrics()
    breaker = CircuitBreaker(engine, BreakerSettings(failures=3, open_ms=60_000), metrics)
    failing(engine, NoWorker("gone"), times=4)
    for _ in range(5):
        with pytest.raises(NoWorker):
            await breaker.predict(request([1]))
    assert len(engine.seen) == 3
    assert breaker_state(breaker) == "open"
    assert sample(metrics, "breaker_state", model="cartpole") == 2
    breaker._settings = BreakerSettings(failures=3, open_ms=1)  # the time is over
    await asyncio.sleep(0.002)
    with pytest.raises(NoWorker, match="gone"):
        await breaker.predict(request([1]))
    assert breaker_state(breaker) == "open"
    await asyncio.sleep(0.002)
    assert await breaker.predict(request([1])) == answer(1)
    assert breaker_state(breaker) == "closed"
    assert breaker_state(breaker, "other") == "closed"


async def test_breaker_half_open_refuses_all_but_one() -> None:
    engine = GivenEngine()
    breaker = CircuitBreaker(engine, BreakerSettings(failures=1, open_ms=1), Metrics())
    failing(engine, NoWorker("gone"), times=1)
    with pytest.raises(NoWorker):
        await breaker.predict(request([1]))
    await asyncio.sleep(0.002)
    engine.free.clear()
    trial = asyncio.ensure_future(breaker.predict(request([1])))
    await settle()
    assert breaker_state(breaker) == "half_open"
    with pytest.raises(NoWorker, match="refuses its requests"):
        await breaker.predict(request([2]))
    engine.free.set()
    assert await trial == answer(1)


async def test_breaker_stays_closed_on_request_errors() -> None:
    engine = GivenEngine()
    breaker = CircuitBreaker(engine, BreakerSettings(failures=1, open_ms=60_000), Metrics())
    failing(engine, Internal("this request broke it"))
    for _ in range(3):
        with pytest.raises(Internal):
            await breaker.predict(request([1]))
    assert breaker_state(breaker) == "closed"
