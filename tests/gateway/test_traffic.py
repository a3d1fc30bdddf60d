"""A version under trial gets its share of the requests, and no client pays for what it does wrong."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from errors import DeadlinePassed, Internal, InvalidFields, NoWorker, OverCapacity, UnknownModel, WorkerLost
from gateway.metrics import Metrics
from gateway.scheduling.coalesce import Coalescer, reader_for
from gateway.tracing import NoTracer
from gateway.upstream.breaker import CircuitBreaker
from settings.schema import BreakerSettings, CoalesceSettings
from tests.gateway.stage_parts import CARD, GivenEngine, answer, breaker_state, now, request, settle
from tests.gateway.trial_parts import STABLE, TRIAL, Hanging, Setting, fails_on_trial

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("weight", [0.0, 0.01, 0.1, 0.5, 0.99])
async def test_canary_gets_its_share(tmp_path: Path, weight: float) -> None:
    setting = Setting(tmp_path, GivenEngine(), weight=weight)
    asked = Counter([await setting.answered_by(request([number])) for number in range(2000)])
    assert asked[TRIAL] == pytest.approx(2000 * weight, abs=3)
    assert asked[None] == 2000 - asked[TRIAL]
    assert setting.counted(TRIAL) == asked[TRIAL]
    assert setting.counted(STABLE) == asked[None]


async def test_canary_share_holds_for_a_client_in_step(tmp_path: Path) -> None:
    setting = Setting(tmp_path, GivenEngine(), weight=0.1)
    tenth = [await setting.answered_by(request([number])) for number in range(4000)][::10]
    assert tenth.count(TRIAL) == pytest.approx(40, abs=8)


async def test_canary_leaves_named_versions_and_other_models(tmp_path: Path) -> None:
    setting = Setting(tmp_path, GivenEngine(), weight=0.9)
    for _ in range(50):
        assert await setting.answered_by(replace(request([1]), version="7.0")) == "7.0"
        assert await setting.answered_by(request([1], model="digits")) is None
    assert next(iter(setting.registry.collect())).samples == []


async def test_canary_sticky_client_keeps_its_version(tmp_path: Path) -> None:
    setting = Setting(tmp_path, GivenEngine(), weight=0.2, sticky_header="X-User")
    assert setting.traffic.sticky("cartpole", [(b"x-user", b"ada")]) == "ada"
    assert setting.traffic.sticky("cartpole", [(b"other", b"ada")]) is None
    assert setting.traffic.sticky("digits", [(b"x-user", b"ada")]) is None
    sides = {}
    for number in range(1000):
        user = replace(request([number]), sticky=f"user {number}")
        sides[number] = await setting.answered_by(user)
        assert await setting.answered_by(user) == sides[number]
    assert list(sides.values()).count(TRIAL) == pytest.approx(200, abs=50)  # four standard deviations
    assert await setting.answered_by(request([1])) is None  # without the header nobody is moved
    setting.write(weight=0.4, sticky_header="X-User")
    for number, side in sides.items():
        if side == TRIAL:
            assert await setting.answered_by(replace(request([1]), sticky=f"user {number}")) == TRIAL


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (lambda: Internal("x"), 500),
        (lambda: NoWorker("x"), 503),
        (lambda: WorkerLost("x"), 503),
        (lambda: DeadlinePassed("x"), 504),
        (lambda: InvalidFields("x"), 422),
    ],
)
async def test_canary_failure_falls_back_to_default_version(
    tmp_path: Path, error: Callable[[], Exception], status: int
) -> None:
    setting = Setting(tmp_path, fails_on_trial(error), weight=0.5)
    assert [await setting.traffic.predict(request([n])) for n in range(20)] == [answer(n) for n in range(20)]
    assert setting.counted(TRIAL, status=status) == pytest.approx(10, abs=1)
    assert setting.count("fallbacks_total", version=TRIAL) == setting.counted(TRIAL, status=status)
    assert setting.counted(STABLE) == 20


async def test_canary_over_capacity_falls_back_uncounted(tmp_path: Path) -> None:
    setting = Setting(tmp_path, fails_on_trial(lambda: OverCapacity("x")), weight=0.5)
    for number in range(20):
        assert await setting.traffic.predict(request([number])) == answer(number)
    assert setting.counted(TRIAL, status=429) == 0
    assert setting.count("fallbacks_total", version=TRIAL) == pytest.approx(10, abs=1)


async def test_canary_that_hangs_leaves_half_the_time(tmp_path: Path) -> None:
    setting = Setting(tmp_path, Hanging(), weight=0.99)
    one = request([3], within_s=2)
    assert await setting.traffic.predict(one) == answer(3)
    assert now() < one.deadline
    assert setting.counted(TRIAL, status=504) == 1


async def test_canary_disconnect_counts_for_neither_version(tmp_path: Path) -> None:
    setting = Setting(tmp_path, Hanging(), weight=0.99)
    waiting = asyncio.ensure_future(setting.traffic.predict(request([1])))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert next(iter(setting.registry.collect())).samples == []


async def test_canary_unknown_version_ends_the_split(tmp_path: Path) -> None:
    engine = fails_on_trial(lambda: UnknownModel("x"))
    setting = Setting(tmp_path, engine, weight=0.99)
    for number in range(20):
        assert await setting.traffic.predict(request([number])) == answer(number)
    assert [one.version for one in engine.seen].count(TRIAL) == 1
    engine.fail = lambda _: None
    setting.write(weight=0.98)
    assert await setting.answered_by(request([1])) == TRIAL


async def test_canary_errors_leave_default_breaker_closed(tmp_path: Path) -> None:
    engine = fails_on_trial(lambda: NoWorker("x"))
    setting = Setting(tmp_path, engine, weight=0.99)
    breaker = CircuitBreaker(engine, BreakerSettings(failures=3, open_ms=60_000), Metrics())
    split = setting.traffic.split("cartpole", None)
    assert split is not None
    for number in range(30):
        assert await setting.traffic.predict_split(breaker, split, request([number])) == answer(number)
    assert breaker_state(breaker) == "closed"
    assert [one.version for one in engine.seen].count(TRIAL) == 3


async def test_canary_coalesced_observations_keep_their_version(tmp_path: Path) -> None:
    engine = GivenEngine()
    setting = Setting(tmp_path, engine, weight=0.3)
    reader = reader_for(CARD)
    together = CoalesceSettings(enabled=True, max_batch=16, max_delay_ms=1000)
    coalescer = Coalescer(engine, together, lambda *_: reader, Metrics(), NoTracer())
    split = setting.traffic.split("cartpole", None)
    assert split is not None
    asked = [request([number / 1000, 0, 0, 0]) for number in range(1000)]
    given = await asyncio.gather(*(setting.traffic.predict_split(coalescer, split, one) for one in asked))
    assert given == [answer(number / 1000) for number in range(1000)]
    members: Counter[str | None] = Counter()
    for one in engine.seen:
        members[one.version] += len(one.json()["instances"]) if b"instances" in one.body else 1
    assert members[TRIAL] == pytest.approx(300, abs=3)
    assert len(engine.seen) < 80
    assert (setting.counted(TRIAL), setting.counted(STABLE)) == (members[TRIAL], members[None])
