import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from errors import ConfigError
from loadtest.loops import arrivals
from loadtest.report import LoadReport
from loadtest.run import run
from tests.loadtest import gateway_server as fake
from tests.loadtest.gateway_server import Answer, FakeGateway, bodies_as_json, gateway
from tests.loadtest.reports import stress_settings

pytestmark = pytest.mark.anyio


class Nobody:
    def planned(self, plan: object) -> None: ...
    def answered(self) -> None: ...
    def measured(self, one: object) -> None: ...


async def _run(
    script: Callable[[int], Answer], model: str = "digits", **changed: Any
) -> tuple[LoadReport, FakeGateway]:
    async with gateway(script) as served:
        return await run(
            stress_settings(**{"url": served.url, "rounds": 2, "warmup": 0} | changed), model, Nobody()
        ), served


def test_arrivals_constant_are_evenly_spaced() -> None:
    found = list(itertools.islice(arrivals(4.0, "constant", random.Random(0)), 4))
    assert found == [0.25, 0.5, 0.75, 1.0]


def test_arrivals_poisson_have_mean_and_deviation_of_process() -> None:
    moments = list(itertools.islice(arrivals(50.0, "poisson", random.Random(1)), 20_000))
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(1 / 50, rel=0.03)
    assert deviation == pytest.approx(mean, rel=0.05)


async def test_open_loop_sends_without_waiting_for_answers() -> None:
    report, served = await _run(lambda _: fake.together, clients=1, rate=200.0, rounds=1)
    assert served.most_in_flight >= 4
    assert [one.items for one in report.rounds] == [20]


async def test_open_loop_late_generator_counts_latency_from_intended_time() -> None:
    # The first answer blocks the generator's only thread: every request after it leaves late and must say so.
    report, _ = await _run(lambda number: fake.blocking if number == 0 else fake.right, rate=100.0, rounds=1)
    one = report.rounds[0]
    assert one.items == 20
    assert one.generator is not None
    assert one.generator.send_lag_ms > 200
    assert sorted(one.latencies_ms)[10] > 100
    assert report.doubts


async def test_loops_round_in_seconds_ends_in_time() -> None:
    for changed in ({"rate": 100.0, "arrivals": "constant"}, {"rate": None}):
        report, _ = await _run(lambda _: fake.right, seconds=1, rounds=1, **changed)
        assert report.rounds[0].complete
        assert report.rounds[0].items > 10
    assert 1 <= report.rounds[0].seconds < 30


async def test_run_mix_sends_shares_and_reports_models_apart() -> None:
    report, served = await _run(lambda _: fake.right, mix={"digits": 0.75, "cartpole": 0.25}, requests=200, rounds=1)
    types = [content_type for content_type, _ in served.bodies]
    assert 0.6 < types.count("image/jpeg") / 200 < 0.9
    assert [(part.model, part.items) for part in report.rounds[0].parts] == [
        ("cartpole", types.count("application/json")),
        ("digits", types.count("image/jpeg")),
    ]
    assert report.plan.unit == "answers"
    assert not report.failed


async def test_run_environment_steps_by_predictions() -> None:
    report, served = await _run(
        lambda _: fake.left, "cartpole", environment="CartPole-v1", clients=2, requests=60, rounds=1
    )
    sent = bodies_as_json(served)
    assert not report.failed
    assert all(set(body) == set(fake.CARDS["cartpole"]["observation"]["fields"]) for body in sent)
    # Always pushing to the left, a pole falls within some ten steps, and an episode begins anew.
    assert len(report.episodes) >= 4
    assert all(8 <= finished <= 12 for finished in report.episodes)


async def test_run_environment_failed_request_is_repeated() -> None:
    report, served = await _run(
        lambda number: fake.no_worker if number % 2 else fake.left,
        "cartpole",
        environment="CartPole-v1",
        clients=1,
        requests=10,
        rounds=1,
    )
    sent = bodies_as_json(served)
    assert report.errors == {"503 no_worker": 5}
    assert [sent[number] == sent[number + 1] for number in range(1, 9, 2)] == [True] * 4


async def test_run_environment_without_gymnasium_names_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gymnasium", None)
    with pytest.raises(ConfigError, match=r"needs Gymnasium: pip install -r requirements-demo\.txt"):
        await _run(lambda _: fake.left, "cartpole", environment="CartPole-v1")


async def test_run_server_death_fails_unanswered_requests() -> None:
    report, _ = await _run(lambda number: fake.dying if number >= 10 else fake.right, clients=1, rounds=1)
    assert report.rounds[0].complete
    assert report.rounds[0].items == 10
    assert sum(report.errors.values()) == 10
    assert set(report.errors) <= {"connection closed without an answer", "connection refused"}


async def test_run_reports_generator_usage() -> None:
    report, _ = await _run(lambda _: fake.right)
    assert all(one.generator is not None and 0 < one.generator.cpu_share <= 1.1 for one in report.rounds)
