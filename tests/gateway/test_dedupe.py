"""Like requests in flight at once reach the engine as one."""

import asyncio

import pytest

from errors import NoWorker
from gateway.metrics import Metrics
from gateway.scheduling.dedupe import Deduplicator, quick_key
from tests.gateway.stage_parts import GivenEngine, answer, failing, request, sample, settle

pytestmark = pytest.mark.anyio


async def test_deduplicator_identical_requests_are_computed_once() -> None:
    engine, metrics = GivenEngine(), Metrics()
    flights = Deduplicator(engine, metrics)
    answers = await asyncio.gather(*(flights.predict(request([1])) for _ in range(5)), flights.predict(request([2])))
    assert answers == [answer(1)] * 5 + [answer(2)]
    assert len(engine.seen) == 2
    assert sample(metrics, "joined_total", model="cartpole") == 4
    await flights.predict(request([1]))
    assert len(engine.seen) == 3


async def test_deduplicator_bodies_with_one_quick_key_are_told_apart() -> None:
    engine = GivenEngine()
    flights = Deduplicator(engine, Metrics())
    bodies = [b"[" + b" " * 500 + digit + b" " * 1000 + b"]" for digit in (b"1", b"2")]
    assert quick_key(request(bodies[0])) == quick_key(request(bodies[1]))
    given = await asyncio.gather(*(flights.predict(request(body)) for body in bodies))
    assert given == [answer(1), answer(2)]


async def test_deduplicator_cancelled_leader_is_replaced() -> None:
    engine = GivenEngine()
    engine.free.clear()
    flights = Deduplicator(engine, Metrics())
    waiting = [asyncio.ensure_future(flights.predict(request([1]))) for _ in range(3)]
    await settle()
    waiting[0].cancel()
    await settle()
    engine.free.set()
    assert await asyncio.gather(*waiting[1:]) == [answer(1)] * 2
    assert len(engine.seen) == 2
    assert engine.cancelled == 1


async def test_deduplicator_followers_share_an_error() -> None:
    engine = GivenEngine()
    failing(engine, NoWorker("gone"))
    flights = Deduplicator(engine, Metrics())
    given = await asyncio.gather(*(flights.predict(request([1])) for _ in range(3)), return_exceptions=True)
    assert {type(each) for each in given} == {NoWorker}
    assert len(engine.seen) == 1
