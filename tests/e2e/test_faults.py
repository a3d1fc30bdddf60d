"""Parts that die, stay away or are in the way: clients are told the truth, and nothing is left behind."""

import json
import shutil
import socket
from pathlib import Path

import pytest
import requests

from stack import processes
from stack.folders import Folders
from tests.e2e.conftest import ENGINE, Stack, left_running, new_stack
from tests.polling import kill_all, wait_for

pytestmark = pytest.mark.e2e
STATE = {"cart_position": 0.0, "cart_velocity": 0.0, "pole_angle": 0.1, "pole_angular_velocity": 0.5}


def ask(stack: Stack) -> requests.Response:
    return requests.post(f"{stack.gateway}/predict", json=STATE, timeout=30)


def test_a_killed_engine_is_503_and_comes_back_by_itself_without_restarting_the_gateway(stack: Stack) -> None:
    folders = Folders(stack.state, stack.state / "model_store", keeps_model_store=False)
    [gateway] = [process.pid for process in processes.find("gateway", folders)]
    assert ask(stack).status_code == 200
    kill_all(processes.find(ENGINE.part, folders))
    answer = ask(stack)
    assert (answer.status_code, answer.json()["error"]) == (503, "no_worker")
    assert requests.get(f"{stack.gateway}/readyz", timeout=30).status_code == 503
    assert requests.get(f"{stack.gateway}/healthz", timeout=30).status_code == 200
    wait_for(lambda: ask(stack).status_code == 200)  # the keeper starts it again, and brings its models back
    assert "everything runs already" in stack.run("-m", "stack", "up")
    wait_for(lambda: requests.get(f"{stack.gateway}/readyz", timeout=30).status_code == 200)
    assert [process.pid for process in processes.find("gateway", folders)] == [gateway]


def test_a_killed_worker_is_replaced(stack: Stack) -> None:
    folders = Folders(stack.state, stack.state / "model_store", keeps_model_store=False)
    workers = [p for p in processes.find(ENGINE.part, folders) if ENGINE.worker_program in " ".join(p.cmdline())]
    assert len(workers) >= 2
    kill_all(workers)
    wait_for(lambda: ask(stack).status_code == 200)


def test_a_taken_port_stops_the_start_in_one_line_and_leaves_nothing(tmp_path: Path, archives: Path) -> None:
    other = new_stack(tmp_path, archives)
    with socket.create_server(("127.0.0.1", int(other.env["MARINA_FILES_PORT"]))):
        printed = other.run("-m", "stack", "up", status=1)
    assert f"port {other.env['MARINA_FILES_PORT']} is taken by pid" in printed
    assert "store.port=PORT" in printed
    assert left_running(other) == []


def test_a_second_stack_runs_beside_the_first_with_the_engines_own_store(
    stack: Stack, archives: Path, tmp_path: Path
) -> None:
    built = tmp_path / "built"
    built.mkdir()
    shutil.copy(archives / "cartpole.mar", built)
    other = new_stack(tmp_path / "state", built)
    other.env["MARINA_GATEWAY_PORT"], first = new_stack(tmp_path, built).env["MARINA_GATEWAY_PORT"], ask(stack)
    try:
        other.run("-m", "stack", "up", "store=local")
        assert "serves now" in other.run("upload_model.py", "served_model=cartpole", "store=local")
        wait_for(lambda: ask(other).status_code == 200)
        assert ask(other).json() == first.json()
        workers = left_running(other)
        assert len(workers) >= 4
        # Every process of it dies at once, as when the machine runs out of memory; `down` must still clear up.
        kill_all(workers)
        wait_for(lambda: left_running(other) == [])
        assert "serves again" in other.run("-m", "stack", "up", "store=local")
        wait_for(lambda: ask(other).status_code == 200)
    finally:
        other.run("-m", "stack", "down", "store=local")
    assert left_running(other) == []
    assert ask(stack).status_code == 200


def test_keys_that_the_engine_no_longer_accepts_are_renewed_and_never_shown(stack: Stack) -> None:
    path = stack.key_file
    content = json.loads(path.read_text())
    for kind in ("management", "inference"):
        content[kind]["key"] = "expired-long-ago"
    path.write_text(json.dumps(content))
    # What uploads and what answers each find their key refused, and get a new one with the API key.
    printed = stack.run("upload_model.py", "served_model=cartpole")
    assert "serves" in printed
    wait_for(lambda: ask(stack).status_code == 200)
    renewed = json.loads(path.read_text())
    assert renewed["management"]["key"] not in {"expired-long-ago", ""}
    keys = {entry["key"] for found in (content, renewed) for entry in found.values()}
    logs = "".join(log.read_text(errors="replace") for log in (stack.state / "logs").glob("*.log"))
    pages = "".join(requests.get(f"{stack.gateway}{path}", timeout=30).text for path in ("/models", "/openapi.json"))
    assert [key for key in keys if key in printed + logs + pages] == []
