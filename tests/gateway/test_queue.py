"""Who was let in waits here until a worker is free, first come first."""

import asyncio

import pytest

from errors import DeadlinePassed
from gateway.metrics import Metrics
from gateway.scheduling.queue import RequestQueue
from tests.gateway.stage_parts import GivenEngine, answer, request, settle

pytestmark = pytest.mark.anyio


async def test_queue_sends_what_keeps_workers_busy_in_order() -> None:
    engine = GivenEngine()
    engine.free.clear()
    queue = RequestQueue(engine, lambda _: 2, Metrics())
    waiting = [asyncio.ensure_future(queue.predict(request([number]))) for number in range(5)]
    await settle()
    assert [each.json() for each in engine.seen] == [[0], [1]]
    waiting[2].cancel()
    engine.free.set()
    await settle()
    assert [each.json() for each in engine.seen] == [[0], [1], [3], [4]]
    assert await waiting[4] == answer(4)


async def test_queue_late_request_never_reaches_the_engine() -> None:
    engine = GivenEngine()
    with pytest.raises(DeadlinePassed):
        await RequestQueue(engine, lambda _: 1, Metrics()).predict(request([1], within_s=-1))
    assert engine.seen == []


async def test_queue_turn_of_a_cancelled_request_goes_to_the_next() -> None:
    engine = GivenEngine()
    engine.free.clear()
    queue = RequestQueue(engine, lambda _: 1, Metrics())
    first, second, third = (asyncio.ensure_future(queue.predict(request([number]))) for number in range(3))
    await settle()
    first.cancel()
    await asyncio.sleep(0)
    second.cancel()
    engine.free.set()
    assert await third == answer(2)
