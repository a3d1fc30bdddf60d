"""How many requests are let in, by places and by how fast a model is known to be."""

import asyncio
from collections import Counter

import pytest

from errors import NoWorker, OverCapacity
from gateway.metrics import Metrics
from gateway.scheduling.admission import LONGEST_RETRY_S, SHARE_OF_DEADLINE, AdmissionControl, Slot, _AdmittedModel
from settings.schema import AdmissionSettings
from tests.gateway.stage_parts import GivenEngine, answer, failing, now, request, sample, settle

pytestmark = pytest.mark.anyio


def admission(
    engine: GivenEngine, metrics: Metrics, places: int, wait_ms: int = 10_000, parallel: int = 1
) -> AdmissionControl:
    limits = AdmissionSettings(max_places=places, max_wait_ms=wait_ms, models={"small": 1})
    return AdmissionControl(engine, limits, lambda _: parallel, metrics, processes=1)


async def test_admission_beyond_max_places_is_refused_with_retry_after() -> None:
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


async def test_admission_model_has_its_own_limit() -> None:
    engine = GivenEngine()
    engine.free.clear()
    door = admission(engine, Metrics(), places=100)
    first = asyncio.ensure_future(door.predict(request([1], model="small")))
    await settle()
    with pytest.raises(OverCapacity):
        await door.predict(request([2], model="small"))
    engine.free.set()
    await first


class Door:
    """An admission by a clock that the test holds, and how many of its requests can be at work."""

    PARALLEL = 2
    LOAD = ("cartpole", None)

    def __init__(self, places: int = 1000, wait_ms: int | None = None, processes: int = 1) -> None:
        self.now = 100.0
        self.metrics = Metrics()
        limits = AdmissionSettings(max_places=places, max_wait_ms=wait_ms, models={})
        self.admission = AdmissionControl(
            GivenEngine(), limits, lambda _: self.PARALLEL, self.metrics, processes, clock=lambda: self.now
        )

    def enter(self, within_s: float = 1e6) -> Slot:
        return self.admission.enter(self.LOAD, self.now + within_s)

    @property
    def model(self) -> _AdmittedModel:
        return self.admission._models[self.LOAD]

    def limit(self, wait_ms: int) -> None:
        self.admission._limits = AdmissionSettings(max_places=1000, max_wait_ms=wait_ms, models={})

    def fill(self, count: int, *, a_second: float) -> None:
        """Bring `count` inside after its speed is known."""
        inside = [self.enter() for _ in range(count)]
        for number in range(400):
            self.now += 1 / a_second
            inside[number % count].leave(answered=True)
            inside[number % count] = self.enter()

    def refusal(self, within_s: float) -> OverCapacity | None:
        try:
            self.admission.check("cartpole", self.now + within_s)
        except OverCapacity as error:
            return error
        return None


@pytest.mark.parametrize("wait_ms", [None, 60_000])
async def test_admission_wait_longer_than_a_share_of_the_deadline_is_refused(wait_ms: int | None) -> None:
    door = Door(wait_ms=wait_ms)
    door.fill(100, a_second=50)  # the next waits two seconds
    assert door.refusal(within_s=2 / SHARE_OF_DEADLINE * 1.05) is None
    assert door.refusal(within_s=2 / SHARE_OF_DEADLINE * 0.95) is not None


async def test_admission_wait_longer_than_the_setting_is_refused_whatever_the_deadline() -> None:
    door = Door()
    door.fill(100, a_second=50)
    wait_ms = round(door.model.wait_s() * 1000)
    assert wait_ms == pytest.approx(2000, rel=0.05)
    door.limit(wait_ms - 1)
    assert door.refusal(within_s=1000) is not None
    door.limit(wait_ms + 1)
    assert door.refusal(within_s=1000) is None


async def test_admission_refused_crowd_is_told_to_come_back_no_faster_than_it_is_answered() -> None:
    door = Door()
    door.fill(100, a_second=51)  # a wait of two seconds
    door.limit(wait_ms=1)
    seconds = []
    for _ in range(400):
        refused = door.refusal(within_s=1000)
        assert refused is not None
        seconds.append(int(refused.headers["retry-after"]))
    assert seconds == sorted(seconds)
    assert seconds[0] == 1
    assert {each: pytest.approx(51, abs=2) for each in range(2, 8)}.items() <= Counter(seconds).items()
    assert sample(door.metrics, "shed_total", model="cartpole") >= 400
    door.now += LONGEST_RETRY_S
    refused = door.refusal(within_s=1000)
    assert refused is not None
    assert refused.headers["retry-after"] == "1"


async def test_admission_refused_crowd_is_never_sent_away_for_longer_than_the_bound() -> None:
    door = Door()
    door.fill(500, a_second=5)
    door.limit(wait_ms=1)
    refused = door.refusal(within_s=1000)
    assert refused is not None
    assert refused.headers["retry-after"] == str(LONGEST_RETRY_S)


async def test_admission_model_of_unknown_speed_is_refused_by_places_alone() -> None:
    door = Door(places=3)
    inside = [door.enter(within_s=0.001) for _ in range(3)]
    refused = door.refusal(within_s=1000)
    assert refused is not None
    assert refused.headers["retry-after"] == "1"
    inside[0].leave(answered=True)
    assert door.refusal(within_s=0.001) is None


async def test_admission_requests_that_can_be_at_work_have_a_place_however_slow_the_model() -> None:
    door = Door()
    door.fill(10, a_second=0.1)
    model = door.model
    model.inside = door.PARALLEL
    assert door.refusal(within_s=0.001) is None
    model.inside = door.PARALLEL + 1
    assert door.refusal(within_s=0.001) is not None


async def test_admission_model_once_measured_far_too_slow_is_measured_again() -> None:
    door = Door()
    door.fill(10, a_second=0.1)
    for place in [door.enter() for _ in range(3)]:
        place.leave(answered=False)
    door.model.inside = 0
    for _ in range(200):
        inside = [door.enter(within_s=1) for _ in range(door.PARALLEL + 1)]
        door.now += 0.1
        for place in inside:
            place.leave(answered=True)
    rate = door.model.speed.per_second
    assert rate is not None
    assert rate > 5


async def test_admission_processes_share_the_places_and_each_has_one_at_least() -> None:
    halved, crowded = Door(places=9, processes=2), Door(places=2, processes=8)
    for door, places in ((halved, 4), (crowded, 1)):
        for _ in range(places):
            assert door.refusal(within_s=1000) is None
            door.enter()
        assert door.refusal(within_s=1000) is not None


async def test_admission_model_between_two_rushes_is_not_slow() -> None:
    door = Door()
    door.fill(100, a_second=50)
    before = door.model.speed.per_second
    assert before is not None
    for _ in range(100):
        door.model.inside -= 1
    door.enter().leave(answered=True)
    door.now += 1000
    door.enter()
    assert door.model.speed.per_second == pytest.approx(before)


async def test_admission_pressed_is_beyond_what_can_be_at_work_or_all_places_taken() -> None:
    door, narrow = Door(), Door(places=1)
    assert not door.admission.is_pressed("cartpole")
    inside = [door.enter() for _ in range(door.PARALLEL)]
    assert not door.admission.is_pressed("cartpole")
    inside.append(door.enter())
    assert door.admission.is_pressed("cartpole")
    inside.pop().leave(answered=True)
    assert not door.admission.is_pressed("cartpole")
    narrow.enter()
    assert narrow.admission.is_pressed("cartpole")


async def test_admission_answers_alone_count_for_the_speed() -> None:
    door = Door()
    inside = [door.enter() for _ in range(10)]
    for place in inside[:5]:
        door.now += 10
        place.leave(answered=False)
    assert door.model.speed.per_second is None


async def test_admission_failed_request_leaves_its_place_and_counts_for_no_speed() -> None:
    engine, metrics = GivenEngine(), Metrics()
    door = admission(engine, metrics, places=1, parallel=0)
    failing(engine, NoWorker("gone"), times=1)
    with pytest.raises(NoWorker):
        await door.predict(request([1]))
    assert door._models["cartpole", None].speed._seen == 0
    assert await door.predict(request([2])) == answer(2)
    assert door._models["cartpole", None].speed._seen == 1
    assert sample(metrics, "requests_admitted", model="cartpole") == 0
