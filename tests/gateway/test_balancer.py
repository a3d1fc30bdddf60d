"""Several engine hosts behind one gateway: who is asked, who is left out, and who is asked instead."""

import asyncio
from collections.abc import Mapping

import pytest

from deployments.traffic import AnsweringVersions
from engines.torchserve.api import model_version
from errors import EngineError, InvalidFields, NoWorker, UnknownModel, WorkerLost
from gateway.hooks import PredictionRequest
from gateway.metrics import Metrics
from gateway.served_models import ServedModel, described
from gateway.upstream.balancer import EngineHost, LoadBalancer, merged
from tests.gateway.stage_parts import GivenEngine, now, request, sample, settle

pytestmark = pytest.mark.anyio
OBSERVATION = [1.0, 0.0, 0.0, 0.0]


def serving(version: str = "1.0", *, name: str = "cartpole", workers: int = 1) -> Mapping[str, ServedModel]:
    ready = [{"status": "READY"}] * workers
    entry = {"modelName": name, "modelVersion": version, "workers": ready}
    return {name: ServedModel(name, (described(model_version(entry), default=True, card={"kind": "policy"}),))}


class Host:
    """One engine host whose health, models and answers a test decides."""

    def __init__(self, name: str, live: AnsweringVersions, metrics: Metrics) -> None:
        self.engine = GivenEngine()
        self.up = True
        self.models = serving()
        self.looked_again = asyncio.Event()
        self.node = EngineHost(name, self.engine, self._look, self._ping, lambda: live, metrics)

    async def _look(self) -> Mapping[str, ServedModel]:
        if not self.up:
            raise EngineError("no answer")
        self.looked_again.set()
        return self.models

    async def _ping(self) -> bool:
        return self.up

    def fail(self, error: Exception) -> None:
        self.engine.fail = lambda _: error


class Fleet:
    def __init__(self) -> None:
        self.live: dict[str, frozenset[str]] = {"cartpole": frozenset({"1.0"})}
        self.metrics = Metrics()
        self.a, self.b = Host("a", self.live, self.metrics), Host("b", self.live, self.metrics)
        self.nodes = LoadBalancer([self.a.node, self.b.node], self.metrics, check_s=0.01)

    def in_traffic(self) -> list[bool]:
        return [self.a.node.in_traffic, self.b.node.in_traffic]

    def counts(self) -> tuple[int, int]:
        return len(self.a.engine.seen), len(self.b.engine.seen)


async def fleet() -> Fleet:
    made = Fleet()
    await made.nodes.look()
    return made


async def test_balancer_chooses_fewest_outstanding() -> None:
    hosts = await fleet()
    hosts.a.engine.free.clear()
    held = asyncio.create_task(hosts.nodes.predict(request(OBSERVATION)))
    await settle()
    for _ in range(5):
        await hosts.nodes.predict(request(OBSERVATION))
    assert hosts.counts() == (1, 5)
    hosts.a.engine.free.set()
    await held


async def test_balancer_equal_hosts_take_turns() -> None:
    hosts = await fleet()
    for _ in range(6):
        await hosts.nodes.predict(request(OBSERVATION))
    assert hosts.counts() == (3, 3)


@pytest.mark.parametrize("error", [WorkerLost("gone"), NoWorker("refused"), UnknownModel("not here")])
async def test_balancer_failed_request_goes_to_another_host(error: Exception) -> None:
    hosts = await fleet()
    hosts.a.fail(error)
    for _ in range(4):
        await hosts.nodes.predict(request(OBSERVATION))
    assert len(hosts.b.engine.seen) == 4
    assert sample(hosts.metrics, "retries_total", model="cartpole") == len(hosts.a.engine.seen) > 0


async def test_balancer_unreachable_host_leaves_and_returns() -> None:
    hosts = await fleet()
    hosts.a.fail(NoWorker("refused"))
    for _ in range(5):
        await hosts.nodes.predict(request(OBSERVATION))
    assert len(hosts.a.engine.seen) == 1
    assert sample(hosts.metrics, "node_in_traffic", node="a") == 0
    hosts.a.engine.fail = lambda _: None
    await hosts.a.node.check()
    assert hosts.a.node.in_traffic


async def test_balancer_client_error_is_not_retried() -> None:
    hosts = await fleet()
    hosts.a.fail(InvalidFields("bad"))
    hosts.b.fail(InvalidFields("bad"))
    with pytest.raises(InvalidFields):
        await hosts.nodes.predict(request(OBSERVATION))
    assert sum(hosts.counts()) == 1


async def test_balancer_all_hosts_failing_raises_the_last_error() -> None:
    hosts = await fleet()
    hosts.a.fail(WorkerLost("lost by a"))
    hosts.b.fail(WorkerLost("lost by b"))
    with pytest.raises(WorkerLost, match="lost by"):
        await hosts.nodes.predict(request(OBSERVATION))
    assert hosts.counts() == (1, 1)


async def test_balancer_late_request_is_not_retried() -> None:
    hosts = await fleet()
    hosts.a.fail(WorkerLost("gone"))
    hosts.b.fail(WorkerLost("gone"))
    late = PredictionRequest("cartpole", None, "policy", "application/json", b"[1]", "r", now() - 1)
    with pytest.raises(WorkerLost):
        await hosts.nodes.predict(late)
    assert sum(hosts.counts()) == 1


async def test_balancer_hanging_host_leaves_and_its_requests_move() -> None:
    hosts = await fleet()
    hosts.a.engine.free.clear()
    held = [asyncio.create_task(hosts.nodes.predict(request(OBSERVATION))) for _ in range(4)]
    await settle()
    hosts.a.up = False
    await hosts.a.node.check()
    assert hosts.in_traffic() == [True, True]  # one late answer is no reason
    await hosts.a.node.check()
    assert hosts.in_traffic() == [False, True]
    await asyncio.gather(*held)
    assert hosts.a.engine.cancelled == 2


async def test_balancer_cancelled_request_is_cancelled_at_its_host() -> None:
    hosts = await fleet()
    hosts.a.engine.free.clear()
    held = asyncio.create_task(hosts.nodes.predict(request(OBSERVATION)))
    await settle()
    held.cancel()
    with pytest.raises(asyncio.CancelledError):
        await held
    assert hosts.a.engine.cancelled == 1
    assert hosts.a.node.outstanding == 0


async def test_balancer_host_with_wrong_version_stays_out() -> None:
    hosts = await fleet()
    hosts.a.node.leave("killed")
    for wrong in ({}, serving("0.9"), serving(workers=0)):
        hosts.a.models = wrong
        await hosts.a.node.check()
        assert hosts.in_traffic() == [False, True]
    hosts.a.models = serving()
    await hosts.a.node.check()
    assert hosts.in_traffic() == [True, True]


async def test_balancer_rollout_accepts_both_versions() -> None:
    hosts = await fleet()
    hosts.live["cartpole"] = frozenset({"1.0", "1.1"})
    hosts.a.models = serving("1.1")
    await hosts.nodes.look()
    assert hosts.in_traffic() == [True, True]
    hosts.live["cartpole"] = frozenset({"1.1"})
    await hosts.nodes.look()
    assert hosts.in_traffic() == [True, False]


async def test_balancer_restarting_worker_keeps_its_host() -> None:
    hosts = await fleet()
    hosts.a.models = serving(workers=0)
    await hosts.nodes.look()
    assert hosts.a.node.in_traffic
    for _ in range(3):
        await hosts.nodes.predict(request(OBSERVATION))
    assert hosts.counts() == (0, 3)


async def test_balancer_look_skips_lost_hosts_and_fails_without_any() -> None:
    hosts = await fleet()
    hosts.a.up = False
    assert (await hosts.nodes.look())["cartpole"].default.workers_ready == 2
    hosts.a.node.leave("killed")
    assert (await hosts.nodes.look())["cartpole"].default.workers_ready == 1
    hosts.b.up = False
    with pytest.raises(EngineError):
        await hosts.nodes.look()
    assert hosts.in_traffic() == [False, True]  # a busy Management API is no reason to refuse predictions
    with pytest.raises(NoWorker):
        Fleet().nodes._choose(request(OBSERVATION), [])


async def test_balancer_checks_every_host_repeatedly() -> None:
    hosts = await fleet()
    hosts.a.node.leave("killed")
    hosts.a.looked_again.clear()
    hosts.nodes.start()
    try:
        async with asyncio.timeout(10):
            await hosts.a.looked_again.wait()
            await settle()
        assert hosts.in_traffic() == [True, True]
    finally:
        await hosts.nodes.close()


def test_merged_adds_up_workers_and_queues() -> None:
    both = merged([serving("1.0"), serving("1.0", workers=2), serving("2.0"), serving(name="digits")])
    assert sorted(both) == ["cartpole", "digits"]
    assert both["cartpole"].default.version == "1.0"
    assert [(each.version, each.workers_ready, each.default) for each in both["cartpole"].versions] == [
        ("1.0", 3, True),
        ("2.0", 1, False),
    ]
