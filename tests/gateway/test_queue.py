"""Who was let in waits here until a worker is free, first come first."""

import asyncio

import pytest

from errors import DeadlinePassed
from gateway.metrics import Metrics
from gateway.scheduling.queue import RequestQueue
from tests.gateway.chain_parts import GivenEngine, answer, request, settle

pytestmark = pytest.mark.anyio


async def test_the_queue_sends_no_more_than_the_workers_can_do_first_come_first() -> None:
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


async def test_what_is_too_late_in_the_queue_never_reaches_the_engine() -> None:
    engine = GivenEngine()
    with pytest.raises(DeadlinePassed):
        await RequestQueue(engine, lambda _: 1, Metrics()).predict(request([1], within_s=-1))
    assert engine.seen == []


async def test_a_place_that_is_given_to_one_who_just_left_goes_to_the_next() -> None:
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
