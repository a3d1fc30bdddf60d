"""`engine.proxies=every`, `engine.fronts=2`, `engine.cpus=0`: a bare head, and nodes that all take requests."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from bench.swaps import MixedLoad
from settings import load
from settings.schema import RayServeSettings
from stack import ray_serve
from stack.folders import Folders
from tests.e2e.conftest import Stack, left_running, new_stack
from tests.e2e.ray import victims
from tests.e2e.ray.nodes import WorkerNode, wait_until
from tests.e2e.ray.serving import AWAY, PATIENT, answers_come, manage, registered, under_load

pytestmark = [pytest.mark.e2e, pytest.mark.ray]
WORDS = (*PATIENT, "engine.proxies=every", "engine.fronts=2", "engine.cpus=0")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, archives: Path) -> Iterator[tuple[Stack, WorkerNode]]:
    made = new_stack(tmp_path_factory.mktemp("state"), archives)
    made.env["MARINA_ENGINE"] = "ray"
    with pytest.MonkeyPatch.context() as patch:
        made.use(patch)
        settings = load(WORDS)
    assert isinstance(settings.engine, RayServeSettings)
    env = ray_serve.environment(settings.engine, Folders.of(settings))
    log = tmp_path_factory.mktemp("logs") / "a.log"
    node = WorkerNode("a", f"127.0.0.1:{made.env['MARINA_RAY_PORT']}", 3, env, log)
    try:
        made.run("-m", "stack", "up", *WORDS)
        node.start()
        for model in ("digits", "cartpole"):
            made.run("upload_model.py", f"served_model={model}")
        yield made, node
    finally:
        node.kill()
        made.run("-m", "stack", "down")
    assert left_running(made) == []


def doors(stack: Stack, node: WorkerNode) -> set[str]:
    """The nodes whose proxy listens; on one machine they share the port, and the system deals out connections."""
    there = {process.pid for process in node.processes()}
    listening = [
        process for process in victims.found(stack, "proxy") + _titled(node, "ProxyActor") if _listens(process)
    ]
    return {"a" if process.pid in there else "head" for process in listening}


def _titled(node: WorkerNode, title: str) -> list[psutil.Process]:
    return [process for process in node.processes() if title in " ".join(process.cmdline())]


def _listens(process: psutil.Process) -> bool:
    try:
        return any(each.status == psutil.CONN_LISTEN for each in process.net_connections("tcp"))
    except psutil.Error:
        return False


def ask(stack: Stack) -> int:
    """The status of one answer, over a connection of its own."""
    url = f"{stack.gateway}/models/cartpole/predict"
    return requests.post(url, json=[0, 0, 0.1, 0.5], timeout=120).status_code


def test_each_node_has_a_door_and_workers_stay_off_a_head_without_cores(node: tuple[Stack, WorkerNode]) -> None:
    stack, other = node
    wait_until(lambda: doors(stack, other) == {"head", "a"}, "both nodes take requests")
    assert len(_titled(other, ":Worker")) >= 2
    assert victims.found(stack, "worker") == []
    assert {ask(stack) for _ in range(40)} == {200}


def test_two_fronts_follow_one_table_and_their_counts_are_one(node: tuple[Stack, WorkerNode]) -> None:
    stack, other = node
    assert len(victims.found(stack, "front") + _titled(other, "ServeReplica:marina:Front")) == 2
    before = _asked(stack)
    assert {ask(stack) for _ in range(40)} == {200}
    assert _asked(stack) == before + 40
    assert "serves" in stack.run("upload_model.py", "served_model=cartpole")
    [version] = registered(stack)["cartpole"][0]
    url = f"{stack.gateway}/models/cartpole/predict"
    answers = [requests.post(url, json=[0, 0, 0.1, 0.5], timeout=120).json() for _ in range(40)]
    assert {answer["version"] for answer in answers} == {version}
    assert manage(stack, "GET", "/models/cartpole/all").status_code == 200


def test_a_proxy_that_is_killed_is_back_by_itself(node: tuple[Stack, WorkerNode]) -> None:
    stack, other = node

    def steps(load: MixedLoad) -> None:
        killed = victims.kill(stack, "proxy")
        wait_until(lambda: bool(victims.pids(stack, "proxy") - killed), "the head's proxy is back")
        wait_until(lambda: doors(stack, other) == {"head", "a"}, "both nodes take requests again")
        answers_come(load)

    load = under_load(stack, steps)
    assert {answer.status for answer in load.answers} <= {200, AWAY}


def _asked(stack: Stack) -> float:
    text = requests.get(f"http://127.0.0.1:{stack.env['MARINA_METRICS_PORT']}/metrics", timeout=60).text
    lines = [line for line in text.splitlines() if line.startswith("ts_inference_requests_total{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if 'model_name="cartpole"' in line)
