"""What failed at the engine: sent once more when it was lost, and not at all while the model rests."""

import asyncio
from collections.abc import Callable

import pytest

from engines.torchserve.api import model_version
from errors import Internal, InvalidFields, NoWorker, WorkerLost
from gateway.metrics import Metrics
from gateway.served_models import ServedModel, Snapshot, described
from gateway.upstream.breaker import CircuitBreaker
from settings.schema import BreakerSettings
from tests.gateway.stage_parts import GivenEngine, answer, breaker_state, failing, now, request, sample, settle

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


async def opened(engine: GivenEngine, *, lost: Callable[[], bool] = lambda: False, open_ms: int = 1) -> CircuitBreaker:
    """A breaker that one failure has opened, after its `open_ms`."""
    breaker = CircuitBreaker(engine, BreakerSettings(failures=1, open_ms=open_ms), Metrics(), is_lost=lost)
    failing(engine, NoWorker("gone"), times=1)
    with pytest.raises(NoWorker):
        await breaker.predict(request([1]))
    await asyncio.sleep(0.002)
    assert breaker_state(breaker) == "open"
    return breaker


async def test_breaker_half_open_burst_waits_for_its_trial_and_is_answered() -> None:
    engine = GivenEngine()
    breaker = await opened(engine)
    engine.seen.clear()
    engine.free.clear()
    burst = [asyncio.ensure_future(breaker.predict(request([number]))) for number in range(20)]
    await settle()
    assert breaker_state(breaker) == "half_open"
    assert len(engine.seen) == 1
    engine.free.set()
    assert await asyncio.gather(*burst) == [answer(number) for number in range(20)]


async def test_breaker_half_open_burst_is_refused_when_its_trial_fails() -> None:
    engine = GivenEngine()
    breaker = await opened(engine, open_ms=60_000)
    failing(engine, NoWorker("gone"))
    engine.seen.clear()
    for circuit in breaker._circuits.values():
        circuit.failed -= 61  # the time is over, and after the trial it begins anew
    burst = [breaker.predict(request([number])) for number in range(20)]
    found = await asyncio.gather(*burst, return_exceptions=True)
    assert {type(each) for each in found} == {NoWorker}
    assert len(engine.seen) == 1


async def test_breaker_half_open_trial_that_its_client_left_hands_on_to_the_next() -> None:
    engine = GivenEngine()
    breaker = await opened(engine)
    engine.free.clear()
    trial, waiting = (asyncio.ensure_future(breaker.predict(request([number]))) for number in range(2))
    await settle()
    trial.cancel()
    await settle()
    engine.free.set()
    assert await waiting == answer(1)


async def test_breaker_half_open_refuses_at_once_while_the_engine_is_lost() -> None:
    engine = GivenEngine()
    breaker = await opened(engine, lost=lambda: True)
    engine.free.clear()
    trial = asyncio.ensure_future(breaker.predict(request([1])))
    await settle()
    with pytest.raises(NoWorker, match="refuses its requests"):
        await breaker.predict(request([2]))
    engine.free.set()
    assert await trial == answer(1)


def survey(workers: int, taken: float) -> Snapshot:
    entry = {"modelName": "cartpole", "modelVersion": "1.0", "workers": [{"status": "READY"}] * workers}
    served = described(model_version(entry), default=True, card={"kind": "policy"})
    return Snapshot({"cartpole": ServedModel("cartpole", (served,))}, taken)


async def test_breaker_closes_when_a_later_survey_finds_a_ready_worker() -> None:
    breaker = await opened(GivenEngine(), open_ms=60_000)
    for found in (survey(1, now() - 60), survey(0, now()), Snapshot({}, now())):
        breaker.surveyed(found)
        assert breaker_state(breaker) == "open"
    breaker.surveyed(survey(1, now()))
    assert breaker_state(breaker) == "closed"
    burst = [breaker.predict(request([number])) for number in range(20)]
    assert await asyncio.gather(*burst) == [answer(number) for number in range(20)]


async def test_breaker_stays_open_while_the_host_answers_no_ping() -> None:
    breaker = await opened(GivenEngine(), lost=lambda: True, open_ms=60_000)
    breaker.surveyed(survey(1, now()))
    assert breaker_state(breaker) == "open"


async def test_breaker_closes_on_an_answer_about_the_request() -> None:
    engine = GivenEngine()
    breaker = await opened(engine)
    failing(engine, InvalidFields("wrong"), times=1)
    with pytest.raises(InvalidFields):
        await breaker.predict(request([1]))
    assert breaker_state(breaker) == "closed"


async def test_breaker_stays_closed_on_request_errors() -> None:
    engine = GivenEngine()
    breaker = CircuitBreaker(engine, BreakerSettings(failures=1, open_ms=60_000), Metrics())
    failing(engine, Internal("this request broke it"))
    for _ in range(3):
        with pytest.raises(Internal):
            await breaker.predict(request([1]))
    assert breaker_state(breaker) == "closed"


async def test_breaker_closes_for_a_model_that_was_removed() -> None:
    recorded = {"cartpole"}
    breaker = await opened(GivenEngine(), open_ms=60_000)
    breaker._is_recorded = recorded.__contains__
    breaker.surveyed(Snapshot({}, now()))
    assert breaker_state(breaker) == "open"
    recorded.clear()
    breaker.surveyed(Snapshot({}, now() - 60))
    assert breaker_state(breaker) == "open"
    breaker.surveyed(Snapshot({}, now()))
    assert breaker_state(breaker) == "closed"
