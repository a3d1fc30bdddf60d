"""A head and two worker nodes: models spread, a node is killed under load and comes back, workers follow the load."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

import engines
from bench.swaps import MixedLoad, measure
from engines.torchserve.engine_client import EngineClient
from settings import Settings, load
from settings.schema import RayServeSettings
from stack import ray_serve
from stack.folders import Folders
from tests.e2e.conftest import Stack, left_running, new_stack, unseen_digits
from tests.e2e.ray.nodes import WorkerNode, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.ray]
MODELS = ("digits", "cartpole")
# A slow machine is no failure: whoever waits, waits. A worker takes a core, so that a lost node is lost capacity.
PATIENT = ("gateway.deadline_ms=120000", "gateway.admission.max_wait_ms=120000")
PLACED = ("engine.cpus=0", "engine.worker_cpus=1")


@dataclass(frozen=True)
class Cluster:
    stack: Stack
    settings: Settings
    nodes: tuple[WorkerNode, WorkerNode]

    def host(self) -> EngineClient:
        return engines.connect(self.settings)

    def places(self, model: str) -> list[str]:
        """The nodes on which the ready workers of a model are."""
        with self.host() as host:
            found = host.default(model)
        assert found is not None
        here = {process.pid: node.name for node in self.nodes for process in node.processes()}
        return [here.get(pid, "head") for pid in found.pids]

    def ready(self, model: str) -> int:
        with self.host() as host:
            found = host.default(model)
        return 0 if found is None else found.ready_workers


@pytest.fixture(scope="module")
def cluster(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = new_stack(tmp_path_factory.mktemp("state"), archives)
    made.env["MARINA_ENGINE"] = "ray"
    with pytest.MonkeyPatch.context() as patch:
        made.use(patch)
        settings = load([*PATIENT, *PLACED])
    assert isinstance(settings.engine, RayServeSettings)
    env = ray_serve.environment(settings.engine, Folders.of(settings))
    address = f"127.0.0.1:{made.env['MARINA_RAY_PORT']}"
    logs = tmp_path_factory.mktemp("logs")
    nodes = tuple(WorkerNode(name, address, 3, env, logs / f"{name}.log") for name in ("a", "b"))
    try:
        made.run("-m", "stack", "up", *PATIENT, *PLACED)
        for node in nodes:
            node.start()
        for model in MODELS:
            words = (f"served_model={model}", "served_model.request_params.initial_workers=2")
            made.run("upload_model.py", *words)
        yield Cluster(made, settings, (nodes[0], nodes[1]))
    finally:
        for node in nodes:
            node.kill()
        made.run("-m", "stack", "down")
    assert left_running(made) == []
    assert not Path("/tmp/ray").exists()


def under_load(cluster: Cluster, steps: Callable[[], None], clients: int = 6) -> MixedLoad:
    """Mixed load from before the steps begin until they are done."""
    pictures, _ = unseen_digits()
    found = MixedLoad(cluster.stack.gateway, clients, pictures[:50])

    def once_it_runs() -> None:
        wait_until(lambda: len(found.answers) >= 20, "the load runs")
        steps()

    async def run() -> None:
        running = asyncio.create_task(found.run())
        try:
            await asyncio.to_thread(once_it_runs)
        finally:
            found.stop()
            await running

    asyncio.run(run())
    return found


def test_models_are_spread_over_the_nodes(cluster: Cluster) -> None:
    for model in MODELS:
        assert sorted(cluster.places(model)) == ["a", "b"]


def test_a_killed_node_costs_no_answer_and_its_capacity_comes_back_with_it(cluster: Cluster) -> None:
    _, lost = cluster.nodes
    seen: list[str] = []

    def steps() -> None:
        lost.kill()
        wait_until(lambda: sum(map(cluster.ready, MODELS)) == 3, "three of four workers on the node that is left")
        seen.append("less")
        lost.start()
        wait_until(lambda: [cluster.ready(model) for model in MODELS] == [2, 2], "all workers are back")
        seen.append("back")

    found = under_load(cluster, steps)
    assert seen == ["less", "back"]
    assert {answer.status for answer in found.answers} == {200}
    assert {answer.model for answer in found.answers} == set(MODELS)
    assert "b" in [*cluster.places("digits"), *cluster.places("cartpole")]


def test_rollouts_fail_none_of_ten_thousand_requests(cluster: Cluster) -> None:
    requests_seen = rollouts = 0
    while requests_seen < 10_000:
        measured = asyncio.run(measure(cluster.stack.gateway, 4, cluster.stack.env, ["rollout.watch_s=1"]))
        assert measured.failed() == []
        assert measured.misrouted() == []
        requests_seen += len(measured.answers)
        rollouts += len(measured.swaps)
    assert rollouts >= 4


def test_workers_follow_the_queue_up_and_down_again(cluster: Cluster) -> None:
    scale(cluster, "cartpole", 1, 1)
    wait_until(lambda: cluster.ready("cartpole") == 1, "one worker")
    scale(cluster, "cartpole", 1, 2)
    with large_requests(cluster) as statuses:
        found = under_load(cluster, lambda: wait_until(lambda: cluster.ready("cartpole") == 2, "two workers"))
    assert {answer.status for answer in found.answers} == {200}
    assert set(statuses) == {200}
    wait_until(lambda: cluster.ready("cartpole") == 1, "one worker again")


@contextlib.contextmanager
def large_requests(cluster: Cluster, clients: int = 6, states: int = 2000) -> Iterator[list[int]]:
    """Clients that keep a queue in front of cartpole's worker until the block ends; yields their statuses."""
    over, statuses = threading.Event(), list[int]()
    url = f"{cluster.stack.gateway}/models/cartpole/predict"

    def send(number: int) -> None:
        with requests.Session() as session:
            while not over.is_set():
                body = {"instances": [[number / 100, 0.0, 0.1, 0.5]] * states}
                statuses.append(session.post(url, json=body, timeout=60).status_code)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        over.set()
        for thread in threads:
            thread.join()


def scale(cluster: Cluster, model: str, least: int, most: int) -> None:
    with cluster.host() as host:
        found = host.default(model)
    assert found is not None
    address = f"{cluster.settings.engine.management_url}/models/{model}/{found.version}"
    key = json.loads(Path(cluster.settings.engine.key_file).read_text())["management"]["key"]
    query: dict[str, str | int] = {"min_worker": least, "max_worker": most, "synchronous": "true"}
    answer = requests.put(address, params=query, headers={"Authorization": f"Bearer {key}"}, timeout=180)
    assert answer.status_code == 200, answer.text
