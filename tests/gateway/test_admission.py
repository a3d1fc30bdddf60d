"""How many requests are let in, by places and by how fast a model is known to be."""

import asyncio

import pytest

from errors import OverCapacity
from gateway.admission import Admission
from gateway.metrics import Metrics
from gateway.speed import Speed
from settings.schema import Admission as AdmissionSettings
from tests.gateway.chain_parts import GivenEngine, answer, now, request, sample, settle

pytestmark = pytest.mark.anyio


def admission(
    engine: GivenEngine, metrics: Metrics, places: int, wait_ms: int = 10_000, parallel: int = 1
) -> Admission:
    limits = AdmissionSettings(max_places=places, max_wait_ms=wait_ms, models={"small": 1})
    return Admission(engine, limits, lambda _: parallel, metrics, processes=1)


async def test_beyond_its_places_a_model_refuses_at_once_and_says_when_to_come_back() -> None:
    engine, metrics = GivenEngine(), Metrics()
    engine.free.clear()
    door = admission(engine, metrics, places=2)
    inside = [asyncio.ensure_future(door.predict(request([number]))) for number in (1, 2)]
    await settle()
    with pytest.raises(OverCapacity) as refused:
        await door.predict(request([3]))
    assert int(refused.value.headers["retry-after"]) >= 1
    with pytest.raises(OverCapacity):
        door.check("cartpole", now() + 60)
    assert sample(metrics, "requests_admitted", model="cartpole") == 2
    assert sample(metrics, "shed_total", model="cartpole") == 2
    inside[0].cancel()
    await settle()
    door.check("cartpole", now() + 60)
    engine.free.set()
    assert await inside[1] == answer(2)
    assert sample(metrics, "requests_admitted", model="cartpole") == 0


async def test_a_single_model_may_have_its_own_limit() -> None:
    engine = GivenEngine()
    engine.free.clear()
    door = admission(engine, Metrics(), places=100)
    first = asyncio.ensure_future(door.predict(request([1], model="small")))
    await settle()
    with pytest.raises(OverCapacity):
        await door.predict(request([2], model="small"))
    engine.free.set()
    await first


async def test_a_request_that_would_wait_past_its_deadline_is_refused() -> None:
    engine = GivenEngine()
    door = admission(engine, Metrics(), places=1000)
    slow = door._open(("cartpole", None))  # its speed is given here: measuring one takes time
    slow.inside = 10
    for tick in range(100):
        slow.speed.look(tick / 10, saturated=True)
        slow.speed.answered()
    door.check("cartpole", now() + 60)
    with pytest.raises(OverCapacity):
        door.check("cartpole", now() + 0.5)


async def test_the_speed_of_a_model_is_measured_only_while_it_has_more_to_do() -> None:
    speed = Speed()
    for tick in range(100):
        speed.look(tick / 10, saturated=False)
        speed.answered()
    assert speed.per_second is None
    for tick in range(100):
        speed.look(10 + tick / 10, saturated=True)
        speed.answered()
    assert speed.per_second == pytest.approx(10, rel=0.05)


async def test_a_first_slow_answer_says_nothing_of_the_speed() -> None:
    speed = Speed()
    speed.look(0, saturated=True)
    speed.answered()
    speed.look(1, saturated=True)
    early = speed.per_second
    for _ in range(40):
        speed.answered()
    speed.look(1.1, saturated=True)
    assert early is None
    assert speed.per_second == pytest.approx(40, rel=0.2)


async def test_a_slow_model_is_known_after_a_while() -> None:
    speed = Speed()
    for second in range(5):
        speed.look(second, saturated=True)
        speed.answered()
    assert speed.per_second == pytest.approx(1, rel=0.5)
