"""A version under trial gets its share of the requests or copies of them, and no client pays for what it does wrong."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from errors import DeadlinePassed, Internal, InvalidFields, NoWorker, OverCapacity, UnknownModel, WorkerLost
from gateway.breaker import Breaker
from gateway.coalesce import Coalescer
from gateway.compare import compare
from gateway.engine import EngineAnswer
from gateway.hooks import PredictionRequest
from gateway.metrics import Metrics
from gateway.observation import reader_for
from gateway.shadow import Shadow
from gateway.splits import Splits
from gateway.tracing import NoTracer
from gateway.traffic import Spread, Traffic
from gateway.trial_metrics import TrialMetrics
from settings.schema import Breaker as BreakerSettings
from settings.schema import Coalesce
from settings.traffic import Split
from settings.traffic import Traffic as File
from tests.gateway.chain_parts import CARD, GivenEngine, answer, now, request, settle

pytestmark = pytest.mark.anyio

STABLE, TRIAL = "1.0", "1.1"
SPLIT = Split(
    stable=STABLE,
    trial=TRIAL,
    weight=0.1,
    sticky_header=None,
    copies=0,
    max_copies=8,
    copy_timeout_s=10,
    tolerance=0.001,
    until=time.time() + 600,
)


class Setting:
    """Everything around an engine that a test gives, following a file that it writes."""

    def __init__(self, folder: Path, engine: GivenEngine, **changes: object) -> None:
        self.file = folder / "traffic.json"
        self.registry = CollectorRegistry()
        self.engine = engine
        metrics = TrialMetrics(self.registry)
        self.splits = Splits(self.file, lambda model, split: metrics.begun(model, split.trial))
        self.shadow = Shadow(engine, self.splits, metrics)
        self.traffic = Traffic(engine, self.splits, self.shadow, metrics)
        # Elsewhere they begin by chance, so that several processes do not choose alike.
        self.traffic._canaries, self.traffic._copies = Spread(0.0), Spread(0.0)
        self.write(**changes)

    def write(self, **changes: object) -> None:
        split = SPLIT.model_copy(update=changes)
        draft = self.file.with_suffix(".draft")
        draft.write_text(File(models={"cartpole": split}).model_dump_json())
        draft.replace(self.file)
        self.splits.look()

    async def answered_by(self, one: PredictionRequest) -> str | None:
        """Which version the engine was last asked for."""
        await self.traffic.predict(one)
        return self.engine.seen[-1].version

    def count(self, name: str, **labels: str) -> float:
        found = self.registry.get_sample_value(f"marina_gateway_{name}", {"model": "cartpole", **labels})
        return found or 0.0

    def counted(self, version: str, way: str = "live", status: int = 200) -> float:
        return self.count("version_seconds_count", version=version, way=way, status=str(status))


@pytest.mark.parametrize("weight", [0.0, 0.01, 0.1, 0.5, 0.99])
async def test_each_version_gets_its_share(tmp_path: Path, weight: float) -> None:
    setting = Setting(tmp_path, GivenEngine(), weight=weight)
    asked = Counter([await setting.answered_by(request([number])) for number in range(2000)])
    assert asked[TRIAL] == pytest.approx(2000 * weight, abs=3)
    assert asked[None] == 2000 - asked[TRIAL]
    assert setting.counted(TRIAL) == asked[TRIAL]
    assert setting.counted(STABLE) == asked[None]


async def test_a_client_that_asks_in_step_with_others_gets_its_share_too(tmp_path: Path) -> None:
    setting = Setting(tmp_path, GivenEngine(), weight=0.1)
    tenth = [await setting.answered_by(request([number])) for number in range(4000)][::10]
    assert tenth.count(TRIAL) == pytest.approx(40, abs=8)


async def test_what_names_its_version_or_another_model_is_left_alone(tmp_path: Path) -> None:
    setting = Setting(tmp_path, GivenEngine(), weight=0.9)
    for _ in range(50):
        assert await setting.answered_by(replace(request([1]), version="7.0")) == "7.0"
        assert await setting.answered_by(request([1], model="digits")) is None
    assert next(iter(setting.registry.collect())).samples == []


async def test_a_client_stays_on_its_side_and_the_sides_have_their_sizes(tmp_path: Path) -> None:
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


def fails_on_trial(error: Callable[[], Exception]) -> GivenEngine:
    engine = GivenEngine()
    engine.fail = lambda one: error() if one.version == TRIAL else None
    return engine


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
async def test_what_the_new_version_does_not_answer_the_old_one_does(
    tmp_path: Path, error: Callable[[], Exception], status: int
) -> None:
    setting = Setting(tmp_path, fails_on_trial(error), weight=0.5)
    assert [await setting.traffic.predict(request([n])) for n in range(20)] == [answer(n) for n in range(20)]
    assert setting.counted(TRIAL, status=status) == pytest.approx(10, abs=1)
    assert setting.count("fallbacks_total", version=TRIAL) == setting.counted(TRIAL, status=status)
    assert setting.counted(STABLE) == 20


async def test_a_new_version_without_a_place_is_passed_over_and_not_blamed(tmp_path: Path) -> None:
    setting = Setting(tmp_path, fails_on_trial(lambda: OverCapacity("x")), weight=0.5)
    for number in range(20):
        assert await setting.traffic.predict(request([number])) == answer(number)
    assert setting.counted(TRIAL, status=429) == 0
    assert setting.count("fallbacks_total", version=TRIAL) == pytest.approx(10, abs=1)


class Hanging(GivenEngine):
    """Never answers for one version."""

    async def predict(self, request: PredictionRequest) -> EngineAnswer:
        if request.version == TRIAL:
            self.seen.append(request)
            await asyncio.Event().wait()
        return await super().predict(request)


async def test_a_new_version_that_hangs_leaves_half_the_time_to_the_old_one(tmp_path: Path) -> None:
    setting = Setting(tmp_path, Hanging(), weight=0.99)
    one = request([3], within_s=0.2)
    assert await setting.traffic.predict(one) == answer(3)
    assert now() < one.deadline
    assert setting.counted(TRIAL, status=504) == 1


async def test_a_client_that_leaves_counts_for_neither_version(tmp_path: Path) -> None:
    setting = Setting(tmp_path, Hanging(), weight=0.99)
    waiting = asyncio.ensure_future(setting.traffic.predict(request([1])))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert next(iter(setting.registry.collect())).samples == []


async def test_a_version_that_is_gone_is_asked_for_once(tmp_path: Path) -> None:
    engine = fails_on_trial(lambda: UnknownModel("x"))
    setting = Setting(tmp_path, engine, weight=0.99)
    for number in range(20):
        assert await setting.traffic.predict(request([number])) == answer(number)
    assert [one.version for one in engine.seen].count(TRIAL) == 1
    engine.fail = lambda _: None
    setting.write(weight=0.98)
    assert await setting.answered_by(request([1])) == TRIAL


async def test_errors_of_the_new_version_open_no_breaker_for_the_old_one(tmp_path: Path) -> None:
    engine = fails_on_trial(lambda: NoWorker("x"))
    setting = Setting(tmp_path, engine, weight=0.99)
    breaker = Breaker(engine, BreakerSettings(failures=3, open_ms=60_000), Metrics())
    split = setting.traffic.split("cartpole", None)
    assert split is not None
    for number in range(30):
        assert await setting.traffic.through(breaker, split, request([number])) == answer(number)
    assert breaker.state("cartpole") == "closed"
    assert [one.version for one in engine.seen].count(TRIAL) == 3


async def test_observations_that_travel_together_keep_to_their_version(tmp_path: Path) -> None:
    engine = GivenEngine()
    setting = Setting(tmp_path, engine, weight=0.3)
    reader = reader_for(CARD)
    together = Coalesce(enabled=True, max_batch=16, max_delay_ms=1000)
    coalescer = Coalescer(engine, together, lambda *_: reader, Metrics(), NoTracer())
    split = setting.traffic.split("cartpole", None)
    assert split is not None
    asked = [request([number / 1000, 0, 0, 0]) for number in range(1000)]
    given = await asyncio.gather(*(setting.traffic.through(coalescer, split, one) for one in asked))
    assert given == [answer(number / 1000) for number in range(1000)]
    members: Counter[str | None] = Counter()
    for one in engine.seen:
        members[one.version] += len(one.json()["instances"]) if b"instances" in one.body else 1
    assert members[TRIAL] == pytest.approx(300, abs=3)
    assert len(engine.seen) < 80
    assert (setting.counted(TRIAL), setting.counted(STABLE)) == (members[TRIAL], members[None])


@pytest.mark.parametrize("content", ["", '{"schema_version": 1, "mod', '{"schema_version": 2, "models": {}}', "\0"])
async def test_an_unreadable_file_changes_nothing(tmp_path: Path, content: str) -> None:
    setting = Setting(tmp_path, GivenEngine())
    setting.file.write_text(content)
    setting.splits.look()
    setting.splits.look()
    assert setting.splits.find("cartpole") is not None
    setting.write(weight=0.7)
    found = setting.splits.find("cartpole")
    assert found is not None
    assert found.weight == 0.7


async def test_a_file_that_is_gone_ends_every_trial(tmp_path: Path) -> None:
    setting = Setting(tmp_path, GivenEngine())
    setting.file.unlink()
    setting.splits.look()
    assert setting.splits.find("cartpole") is None


async def test_a_trial_that_nobody_ends_ends_by_itself(tmp_path: Path) -> None:
    setting = Setting(tmp_path, GivenEngine(), until=time.time() + 0.1)
    assert setting.splits.find("cartpole") is not None
    setting.splits.start()
    deadline = now() + 5
    while setting.splits.find("cartpole") is not None:
        assert now() < deadline
        await asyncio.sleep(0.01)
    setting.splits.close()


async def copies_done(setting: Setting) -> None:
    deadline = now() + 5
    while setting.shadow._under_way:
        assert now() < deadline
        await asyncio.sleep(0.001)


async def test_copies_are_compared_and_clients_get_the_old_version_only(tmp_path: Path) -> None:
    setting = Setting(tmp_path, GivenEngine(), weight=0.0, copies=0.5)
    for number in range(20):
        assert await setting.traffic.predict(request([number])) == answer(number)
        await copies_done(setting)
    copies = [one.version for one in setting.engine.seen].count(TRIAL)
    assert copies == pytest.approx(10, abs=1)
    assert setting.count("shadow_total", version=TRIAL, result="same") == copies
    assert setting.counted(TRIAL, way="shadow") == copies
    assert setting.counted(TRIAL) == 0


async def test_copies_that_hang_are_few_and_keep_nobody_waiting(tmp_path: Path) -> None:
    setting = Setting(tmp_path, Hanging(), weight=0.0, copies=1.0, max_copies=3)
    for number in range(20):
        assert await setting.traffic.predict(request([number])) == answer(number)
    await settle()
    assert [one.version for one in setting.engine.seen].count(TRIAL) == 3
    assert setting.count("shadow_total", version=TRIAL, result="dropped") == 17
    await setting.shadow.close()
    assert not setting.shadow._under_way


async def test_copies_that_fail_or_come_too_late_are_counted_and_nobody_sees_them(tmp_path: Path) -> None:
    setting = Setting(tmp_path, fails_on_trial(lambda: Internal("x")), weight=0.0, copies=1.0)
    assert await setting.traffic.predict(request([1])) == answer(1)
    await copies_done(setting)
    setting = Setting(tmp_path, Hanging(), weight=0.0, copies=1.0, copy_timeout_s=0.05)
    assert await setting.traffic.predict(request([1])) == answer(1)
    await copies_done(setting)
    assert setting.count("shadow_total", version=TRIAL, result="failed") == 1
    assert setting.counted(TRIAL, way="shadow", status=504) == 1


def predictions(*each: object) -> bytes:
    return json.dumps({"model": "m", "version": "1", "predictions": each}).encode()


def picture(label: str, sure: float) -> dict[str, object]:
    return {"label": label, "confidence": sure, "probabilities": {label: sure, "other": 1 - sure}}


@pytest.mark.parametrize(
    ("old", "new", "differs", "change"),
    [
        ([picture("7", 0.9)], [picture("7", 0.6)], False, 0.3),
        ([picture("7", 0.9)], [picture("1", 0.9)], True, 0.0),
        ([{"labels": ["a"], "probabilities": {"a": 0.6}}], [{"labels": [], "probabilities": {"a": 0.4}}], True, 0.2),
        ([{"action": 0}], [{"action": 0}], False, 0.0),
        ([{"action": 0}], [{"action": 1}], True, 0.0),
        ([{"action": 0}, {"action": 1}], [{"action": 0}, {"action": 0}], True, 0.0),
        ([{"action": [0.5, -1.0]}], [{"action": [0.5004, -1.0]}], False, 0.0004),
        ([{"action": [0.5, -1.0]}], [{"action": [0.6, -1.0]}], True, 0.1),
        ([{"action": [1, 0]}], [{"action": [1, 1]}], True, 0.0),
        ([{"action": 0}], [], True, 0.0),
        ([{"own": 1}], [{"own": 2}], True, 0.0),
        ([1], [1], False, 0.0),
    ],
)
def test_answers_differ_by_what_is_acted_upon(
    old: list[object], new: list[object], differs: bool, change: float
) -> None:
    found = compare(predictions(*old), predictions(*new), 0.001)
    assert found.differs is differs
    assert found.change == pytest.approx(change)


def test_what_is_no_answer_differs_from_all_but_itself() -> None:
    assert compare(b"x", b"y", 0.1).differs
    assert not compare(b"x", b"x", 0.1).differs
    assert compare(b"[]", b"{}", 0.1).differs
