import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from errors import LoadError
from loadtest.plan import LoadPlan
from loadtest.report import LoadReport
from loadtest.rounds import RoundResult
from loadtest.run import run
from tests.loadtest import gateway_server as fake
from tests.loadtest.gateway_server import Answer, FakeGateway, bodies_as_json, gateway
from tests.loadtest.reports import stress_settings

pytestmark = pytest.mark.anyio


class Watcher:
    def __init__(self) -> None:
        self.plan: LoadPlan | None = None
        self.rounds: list[RoundResult] = []
        self.outcomes = 0

    def planned(self, plan: LoadPlan) -> None:
        self.plan = plan

    def answered(self) -> None:
        self.outcomes += 1

    def measured(self, one: RoundResult) -> None:
        self.rounds.append(one)


async def _run(
    script: Callable[[int], Answer], model: str = "digits", **changed: Any
) -> tuple[LoadReport, FakeGateway]:
    async with gateway(script) as served:
        return await run(stress_settings(url=served.url, **changed), model, Watcher()), served


async def test_run_counts_requests_without_warmup() -> None:
    watcher = Watcher()
    async with gateway() as served:
        report = await run(stress_settings(url=served.url), "digits", watcher)
    assert len(served.bodies) == 5 + 3 * 20
    assert watcher.outcomes == 60
    assert tuple(watcher.rounds) == report.rounds
    assert [one.items for one in report.rounds] == [20, 20, 20]
    assert report.warmup is not None
    assert report.warmup.items == 5
    assert report.requests == 60
    assert not report.failed
    assert report.rate is not None
    assert report.rate.mean > 0


async def test_run_closed_loop_keeps_one_connection_per_client() -> None:
    _, served = await _run(lambda _: fake.together, clients=4, warmup=0)
    assert served.most_in_flight == 4
    assert len(served.connections) == 4


async def test_run_sends_raw_images_and_named_states() -> None:
    _, served = await _run(lambda _: fake.right)
    assert {content_type for content_type, _ in served.bodies} == {"image/jpeg"}
    assert all(body.startswith(b"\xff\xd8") for _, body in served.bodies)
    _, served = await _run(lambda _: fake.right, "cartpole")
    assert {content_type for content_type, _ in served.bodies} == {"application/json"}
    assert all(set(body) == set(fake.CARDS["cartpole"]["observation"]["fields"]) for body in bodies_as_json(served))


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (fake.no_worker, "503 no_worker"),
        (fake.unreadable, "400 unreadable_input"),
        (fake.plain_500, "500"),
        (fake.nothing_predicted, "wrong answer: not one prediction for each input"),
        (fake.upstream_error_as_200, "wrong answer: from another model"),
        (fake.other_model, "wrong answer: from another model"),
        (fake.not_json, "wrong answer: no JSON object"),
        (fake.closed, "connection closed without an answer"),
        (fake.cut_short, "answer cut short"),
    ],
)
async def test_run_failure_is_counted_by_kind(answer: Answer, kind: str) -> None:
    report, _ = await _run(lambda number: answer if number % 4 == 0 else fake.right, warmup=0, clients=1, rounds=1)
    assert report.errors == {kind: 5}
    assert [one.items for one in report.rounds] == [15]
    assert len(report.rounds[0].latencies_ms) == 15
    assert report.failed


async def test_run_missing_answer_is_timeout() -> None:
    report, _ = await _run(lambda number: fake.never if number == 0 else fake.right, warmup=0, rounds=1, timeout_s=2)
    assert report.errors == {"timeout": 1}
    assert report.latency_ms is not None
    assert report.latency_ms.max < 2000


async def test_run_warmup_failure_fails_run_but_not_figures() -> None:
    report, _ = await _run(lambda number: fake.no_worker if number == 0 else fake.right)
    assert report.errors == {}
    assert report.failed


async def test_run_failed_warmup_raises_before_rounds() -> None:
    async with gateway(lambda _: fake.no_worker) as served:
        with pytest.raises(LoadError, match="5 x 503 no_worker"):
            await run(stress_settings(url=served.url), "digits", Watcher())
        assert len(served.bodies) == 5


async def test_run_plan_has_version_weights_and_batching() -> None:
    report, _ = await _run(lambda _: fake.right, "weather")
    target = report.plan.target
    assert (target.version, target.weights, target.unit) == ("1.0", "random", "imgs")
    assert target.batching is not None
    assert (target.batching.batch_size, target.batching.max_batch_delay_ms, target.batching.workers) == (4, 5, 1)


async def test_run_cancelled_reports_measured_part() -> None:
    async with gateway(lambda number: fake.right if number < 30 else fake.never) as served:
        running = asyncio.create_task(run(stress_settings(url=served.url, warmup=0), "digits", Watcher()))
        async with asyncio.timeout(60):
            while len(served.bodies) < 34:
                served.seen.clear()
                await served.seen.wait()
        running.cancel()
        report = await running
    assert report.interrupted
    assert [(one.items, one.complete) for one in report.rounds] == [(20, True), (10, False)]
    assert report.rate is not None
    assert report.rate.mean == report.rounds[0].rate
