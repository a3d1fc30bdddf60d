"""Two engine hosts: a rollout reaches both or none, also when it fails or is killed on one, and a host may hang."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from bench.engine_nodes import NodeStack, two_nodes
from settings.load import ROOT
from stack import processes
from stack.folders import Folders
from tests.polling import wait_for

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.torchserve(reason="Ray spreads over nodes by itself"),
]
STATE = {"cart_position": 0.0, "cart_velocity": 0.0, "pole_angle": 0.1, "pole_angular_velocity": 0.5}
DELAY = "served_model.request_params.max_batch_delay"
QUICK = ("served_model=cartpole", "rollout.watch_s=0.5", "rollout.warm_requests=1")

# An upload in which something goes wrong on node b, and an upload that dies as by a power cut on a given node.
FAILS = """
import sys
import upload_model
from delivery import steps
from delivery.watch import TrafficWatch
from errors import RolloutError
where, *overrides = sys.argv[1:]
holder, name = (steps, "check_golden") if where == "check" else (TrafficWatch, "follow")
real = getattr(holder, name)
def fail_on_b(*given):
    if any(getattr(getattr(each, "node", None), "name", "") == "b" for each in given):
        raise RolloutError("on purpose")
    return real(*given)
setattr(holder, name, fail_on_b)
sys.exit(upload_model.main(overrides))
"""
KILLED = """
import os, signal, sys
import upload_model
from delivery.journal import Journal
write, (node, step, *overrides) = Journal.write, sys.argv[1:]
def write_and_die(journal, entry):
    write(journal, entry)
    if journal._path.parent.name == node and entry.step == step:
        os.kill(os.getpid(), signal.SIGKILL)
Journal.write = write_and_die
sys.exit(upload_model.main(overrides))
"""


@pytest.fixture(scope="module")
def nodes(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeStack]:
    folder = tmp_path_factory.mktemp("nodes")
    (folder / "built").mkdir()
    shutil.copy(archives / "cartpole.mar", folder / "built")
    with two_nodes(folder, folder / "built", ["cartpole"]) as made:
        yield made


def program(nodes: NodeStack, code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=nodes.env | {"PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
        check=False,
        timeout=300,
    )


def served(nodes: NodeStack) -> dict[str, list[str]]:
    """Of each node the versions that are registered."""
    found: dict[str, list[str]] = {"a": [], "b": []}
    for row in nodes.run("-m", "delivery", "models").splitlines()[1:]:
        node, _, version, serves = row.split()[:4]
        found[node].append(f"{version} {serves}")
    return found


def other_delay(nodes: NodeStack) -> str:
    [now] = {row.split()[8] for row in nodes.run("-m", "delivery", "models").splitlines()[1:]}
    return f"{DELAY}={int(now) + 1}"


def ask(nodes: NodeStack) -> str:
    answer = requests.post(f"{nodes.gateway}/models/cartpole/predict", json=STATE, timeout=30)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["version"])


def in_traffic(nodes: NodeStack) -> list[str]:
    text = requests.get(f"{nodes.gateway}/metrics", timeout=30).text
    return [name for name in "ab" if f'marina_gateway_node_in_traffic{{node="{name}"}} 1.0' in text]


def test_both_nodes_are_shown_and_share_the_requests(nodes: NodeStack) -> None:
    shown = nodes.run("-m", "stack", "status")
    assert "node a      ready" in shown
    assert "node b      ready" in shown
    wait_for(lambda: in_traffic(nodes) == ["a", "b"])
    assert {ask(nodes) for _ in range(10)} == {served(nodes)["a"][0].split()[0]}
    text = requests.get(f"{nodes.gateway}/metrics", timeout=30).text
    for name in "ab":
        assert f'marina_gateway_node_calls_total{{model="cartpole",node="{name}",status="200"}}' in text
    found = requests.get(f"{nodes.gateway}/models/cartpole", timeout=30).json()
    assert found["versions"][0]["workers"]["ready"] == 2


@pytest.mark.parametrize(("where", "words"), [("check", "was not rolled out"), ("watch", "was taken back")])
def test_what_fails_on_one_node_is_taken_back_on_all(nodes: NodeStack, where: str, words: str) -> None:
    before = served(nodes)
    done = program(nodes, FAILS, where, *QUICK, other_delay(nodes))
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    version = before["a"][0].split()[0]
    assert f"{words}: b: on purpose; a: {version}, b: {version}" in last
    assert served(nodes) == before
    assert ask(nodes) == version
    assert not list((Path(nodes.env["MARINA_STATE"]) / "rollouts").glob("*/cartpole.json"))


@pytest.mark.parametrize(
    ("node", "step", "finished"),
    [
        ("a", "register", False),
        ("b", "golden", False),
        ("a", "watch", False),
        ("b", "switch", False),
        ("b", "watch", True),
        ("a", "drain", True),
        ("b", "remove", True),
    ],
)
def test_what_is_killed_on_one_node_is_ended_on_all(nodes: NodeStack, node: str, step: str, finished: bool) -> None:
    before = served(nodes)
    changed = other_delay(nodes)
    assert program(nodes, KILLED, node, step, *QUICK, changed).returncode == -signal.SIGKILL
    assert ask(nodes)
    nodes.run("-m", "delivery", "restore", *QUICK)
    after = served(nodes)
    assert after["a"] == after["b"]
    assert len(after["a"]) == 1
    assert (after != before) == finished
    assert after["a"][0] == f"{ask(nodes)} yes"
    state = Path(nodes.env["MARINA_STATE"])
    assert not list((state / "rollouts").glob("*/cartpole.json"))
    assert (state / "live" / "cartpole.json").read_text() == f'["{ask(nodes)}"]'
    wait_for(lambda: in_traffic(nodes) == ["a", "b"])


def test_a_rollback_reaches_both(nodes: NodeStack) -> None:
    nodes.run("upload_model.py", *QUICK, other_delay(nodes))
    before = ask(nodes)
    printed = nodes.run("-m", "delivery", "rollback", *QUICK).splitlines()[-1]
    after = ask(nodes)
    assert after != before
    remark = "no request came while it was watched"
    assert printed == f"cartpole {after} serves again (a: {after}, b: {after}; {remark})"


def test_a_node_that_hangs_costs_no_request(nodes: NodeStack) -> None:
    state = Path(nodes.engines[0].env["MARINA_STATE"])
    hung = processes.find("torchserve", Folders(state, state / "model_store", keeps_model_store=False))
    for process in hung:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        for _ in range(20):
            ask(nodes)
        wait_for(lambda: in_traffic(nodes) == ["a"])
    finally:
        for process in hung:
            os.kill(process.pid, signal.SIGCONT)
    wait_for(lambda: in_traffic(nodes) == ["a", "b"])


def test_a_node_that_is_stopped_costs_no_request(nodes: NodeStack) -> None:
    stopped = nodes.engines[0]
    first = processes.main_process("torchserve", stopped.folders)
    assert first is not None
    with ThreadPoolExecutor(4) as clients:
        over = threading.Event()
        asked = [clients.submit(_ask_until, nodes, over) for _ in range(4)]
        try:
            wait_for(lambda: in_traffic(nodes) == ["a", "b"])
            first.terminate()
            first.wait(60)
            assert in_traffic(nodes) == ["a"]
        finally:
            over.set()
    assert all(each.result() > 0 for each in asked)
    stopped.start()
    stopped.wait()
    wait_for(lambda: in_traffic(nodes) == ["a", "b"])


def _ask_until(nodes: NodeStack, over: threading.Event) -> int:
    """Return how many requests were answered; the first that is not raises."""
    count = 0
    while not over.is_set():
        ask(nodes)
        count += 1
    return count
