"""What stands in front of the engine, part by part, with an engine that fails and waits as told."""

import asyncio

import pytest

from errors import DeadlinePassed, Internal, NoWorker, OverCapacity, WorkerLost
from gateway.admission import Admission
from gateway.breaker import Breaker
from gateway.cache import AnswerCache
from gateway.content import sketch_of
from gateway.flights import Flights
from gateway.metrics import Metrics
from gateway.queue import Queue
from gateway.retry import Retry
from gateway.speed import Speed
from settings.schema import Admission as AdmissionSettings
from settings.schema import Breaker as BreakerSettings
from settings.schema import Cache
from tests.gateway.chain_parts import GivenEngine, answer, now, request, sample, settle

pytestmark = pytest.mark.anyio


def failing(engine: GivenEngine, error: Exception, times: int = 1_000) -> None:
    left = [error] * times
    engine.fail = lambda _: left.pop() if left else None


async def test_identical_requests_in_flight_are_computed_once() -> None:
    engine, metrics = GivenEngine(), Metrics()
    flights = Flights(engine, metrics)
    answers = await asyncio.gather(*(flights.predict(request([1])) for _ in range(5)), flights.predict(request([2])))
    assert answers == [answer(1)] * 5 + [answer(2)]
    assert len(engine.seen) == 2
    assert sample(metrics, "joined_total", model="cartpole") == 4
    await flights.predict(request([1]))
    assert len(engine.seen) == 3


@pytest.mark.parametrize(
    "body", [b'{"observation": [1], "deterministic": false}', b'{"instances": [[1]], "\\u0064eterministic": false}']
)
async def test_what_a_policy_draws_is_neither_shared_nor_kept(body: bytes) -> None:
    engine = GivenEngine()
    engine.fail = lambda _: Internal("not asked for an answer here")
    cache = AnswerCache(Flights(engine, Metrics()), Cache(max_entries=9, ttl_s=60), lambda *_: "1.0", Metrics())
    await asyncio.gather(*(cache.predict(request(body)) for _ in range(2)), return_exceptions=True)
    engine.fail = lambda _: None
    await asyncio.gather(*(cache.predict(request(body)) for _ in range(2)), return_exceptions=True)
    assert [each.body for each in engine.seen] == [body] * 4


async def test_bodies_that_differ_between_the_looked_at_pieces_are_not_the_same() -> None:
    engine = GivenEngine()
    flights = Flights(engine, Metrics())
    bodies = [b"[" + b" " * 500 + digit + b" " * 1000 + b"]" for digit in (b"1", b"2")]
    assert sketch_of(request(bodies[0])) == sketch_of(request(bodies[1]))
    given = await asyncio.gather(*(flights.predict(request(body)) for body in bodies))
    assert given == [answer(1), answer(2)]


async def test_when_the_first_of_identical_requests_is_given_up_the_next_takes_its_place() -> None:
    engine = GivenEngine()
    engine.free.clear()
    flights = Flights(engine, Metrics())
    waiting = [asyncio.ensure_future(flights.predict(request([1]))) for _ in range(3)]
    await settle()
    waiting[0].cancel()
    await settle()
    engine.free.set()
    assert await asyncio.gather(*waiting[1:]) == [answer(1)] * 2
    assert len(engine.seen) == 2
    assert engine.cancelled == 1


async def test_identical_requests_share_a_refusal() -> None:
    engine = GivenEngine()
    failing(engine, NoWorker("gone"))
    flights = Flights(engine, Metrics())
    given = await asyncio.gather(*(flights.predict(request([1])) for _ in range(3)), return_exceptions=True)
    assert {type(each) for each in given} == {NoWorker}
    assert len(engine.seen) == 1


async def test_the_cache_answers_what_was_asked_before_until_it_is_old_or_full() -> None:
    engine, metrics = GivenEngine(), Metrics()
    cache = AnswerCache(engine, Cache(max_entries=2, ttl_s=60), lambda *_: "1.0", metrics)
    for number in (1, 1, 2, 1, 3, 2):
        assert await cache.predict(request([number])) == answer(number)
    assert [each.json() for each in engine.seen] == [[1], [2], [3], [2]]
    assert sample(metrics, "cache_total", model="cartpole", result="hit") == 2
    stale = AnswerCache(engine, Cache(max_entries=2, ttl_s=1e-9), lambda *_: "1.0", metrics)
    before = len(engine.seen)
    for _ in range(2):
        await stale.predict(request([1]))
    assert len(engine.seen) == before + 2


async def test_the_cache_is_emptied_when_another_version_answers() -> None:
    engine, version = GivenEngine(), ["1.0"]
    cache = AnswerCache(engine, Cache(max_entries=9, ttl_s=60), lambda *_: version[0], Metrics())
    await cache.predict(request([1]))
    version[0] = "2.0"
    await cache.predict(request([1]))
    version[0] = "1.0"
    await cache.predict(request([1]))
    assert len(engine.seen) == 3


async def test_refusals_are_not_cached() -> None:
    engine = GivenEngine()
    failing(engine, NoWorker("gone"), times=1)
    cache = AnswerCache(engine, Cache(max_entries=9, ttl_s=60), lambda *_: "1.0", Metrics())
    with pytest.raises(NoWorker):
        await cache.predict(request([1]))
    assert await cache.predict(request([1])) == answer(1)


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


async def test_the_queue_sends_no_more_than_the_workers_can_do_first_come_first() -> None:
    engine = GivenEngine()
    engine.free.clear()
    queue = Queue(engine, lambda _: 2, Metrics())
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
        await Queue(engine, lambda _: 1, Metrics()).predict(request([1], within_s=-1))
    assert engine.seen == []


async def test_a_place_that_is_given_to_one_who_just_left_goes_to_the_next() -> None:
    engine = GivenEngine()
    engine.free.clear()
    queue = Queue(engine, lambda _: 1, Metrics())
    first, second, third = (asyncio.ensure_future(queue.predict(request([number]))) for number in range(3))
    await settle()
    first.cancel()
    await asyncio.sleep(0)
    second.cancel()
    engine.free.set()
    assert await third == answer(2)


async def test_what_was_lost_is_sent_once_more_and_no_more_than_that() -> None:
    engine, metrics = GivenEngine(), Metrics()
    failing(engine, WorkerLost("died"), times=1)
    assert await Retry(engine, metrics).predict(request([1])) == answer(1)
    assert sample(metrics, "retries_total", model="cartpole") == 1
    failing(engine, WorkerLost("died"))
    engine.seen.clear()
    with pytest.raises(WorkerLost):
        await Retry(engine, metrics).predict(request([1]))
    assert len(engine.seen) == 2


@pytest.mark.parametrize(("error", "within_s"), [(Internal("handler"), 60), (NoWorker("x"), 60), (WorkerLost("x"), -1)])
async def test_what_failed_otherwise_or_is_too_late_is_not_sent_again(error: Exception, within_s: float) -> None:
    engine = GivenEngine()
    failing(engine, error)
    with pytest.raises(type(error)):
        await Retry(engine, Metrics()).predict(request([1], within_s=within_s))
    assert len(engine.seen) == 1


async def test_the_breaker_opens_after_failures_in_a_row_and_closes_when_one_that_tries_succeeds() -> None:
    engine, metrics = GivenEngine(), Metrics()
    breaker = Breaker(engine, BreakerSettings(failures=3, open_ms=60_000), metrics)
    failing(engine, NoWorker("gone"), times=4)
    for _ in range(5):
        with pytest.raises(NoWorker):
            await breaker.predict(request([1]))
    assert len(engine.seen) == 3
    assert breaker.state("cartpole") == "open"
    assert sample(metrics, "breaker_state", model="cartpole") == 2
    breaker._settings = BreakerSettings(failures=3, open_ms=1)  # the time is over
    await asyncio.sleep(0.002)
    with pytest.raises(NoWorker, match="gone"):
        await breaker.predict(request([1]))
    assert breaker.state("cartpole") == "open"
    await asyncio.sleep(0.002)
    assert await breaker.predict(request([1])) == answer(1)
    assert breaker.state("cartpole") == "closed"
    assert breaker.state("other") == "closed"


async def test_while_one_tries_the_others_are_refused() -> None:
    engine = GivenEngine()
    breaker = Breaker(engine, BreakerSettings(failures=1, open_ms=1), Metrics())
    failing(engine, NoWorker("gone"), times=1)
    with pytest.raises(NoWorker):
        await breaker.predict(request([1]))
    await asyncio.sleep(0.002)
    engine.free.clear()
    trial = asyncio.ensure_future(breaker.predict(request([1])))
    await settle()
    assert breaker.state("cartpole") == "half_open"
    with pytest.raises(NoWorker, match="rests"):
        await breaker.predict(request([2]))
    engine.free.set()
    assert await trial == answer(1)


async def test_errors_of_requests_do_not_open_the_breaker() -> None:
    engine = GivenEngine()
    breaker = Breaker(engine, BreakerSettings(failures=1, open_ms=60_000), Metrics())
    failing(engine, Internal("this request broke it"))
    for _ in range(3):
        with pytest.raises(Internal):
            await breaker.predict(request([1]))
    assert breaker.state("cartpole") == "closed"
