"""The keeper: the engine comes back without its models, and nobody runs `make up`."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import requests

from stack import processes
from stack.folders import Folders
from tests.e2e.conftest import ENGINE, Stack, left_running, new_stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
AGAIN = re.compile(r"cartpole [\d.]+ serves again")


def answers(stack: Stack) -> bool:
    answer = requests.post(f"{stack.gateway}/models/cartpole/predict", json=[0, 0, 0.1, 0.5], timeout=30)
    return answer.status_code == 200


def test_keeper_of_the_stack_engine_was_killed_starts_it_again_with_its_models(archives: Path, tmp_path: Path) -> None:
    stack = new_stack(tmp_path, archives)
    try:
        stack.run("-m", "stack", "up")
        stack.run("upload_model.py", "served_model=cartpole")
        for time_round in (1, 2):
            _kill_engine(stack)
            assert not answers(stack)
            _until(lambda: answers(stack))
            log = stack.state / "logs" / "keeper.log"
            _until(lambda log=log, times=time_round: len(AGAIN.findall(log.read_text())) == times)  # type: ignore[misc]
            assert log.read_text().count(f"{ENGINE.part} ended, and is started again") == time_round
        assert "everything runs already" in stack.run("-m", "stack", "up")
    finally:
        stack.run("-m", "stack", "down")
    assert left_running(stack) == []


def test_a_restarted_engine_gets_its_models_back(archives: Path, tmp_path: Path) -> None:
    stack = new_stack(tmp_path, archives)
    kept = again = None
    try:
        stack.run("-m", "stack", "up")
        # Where something else starts programs again, systemd or Compose, the models alone are kept.
        processes.stop_service("keeper", Folders(stack.state, stack.state / "model_store", keeps_model_store=False))
        kept = stack.start("-m", "delivery", "keep")
        _until(lambda: (stack.state / "keeper").exists())  # its health, before there is a model
        stack.run("upload_model.py", "served_model=cartpole")
        assert answers(stack)
        _kill_engine(stack)
        assert not answers(stack)
        again = stack.start("-m", "stack", "run", ENGINE.part)
        _until(lambda: answers(stack))
        kept.send_signal(signal.SIGTERM)
        said, _ = kept.communicate(timeout=60)
        assert kept.returncode == 0, said
        assert len(AGAIN.findall(said)) == 1
    finally:
        for process in (kept, again):
            if process is not None:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=60)
        stack.run("-m", "stack", "down")
    assert left_running(stack) == []


def _kill_engine(stack: Stack) -> None:
    for process in left_running(stack):
        if psutil.pid_exists(process.pid) and process.environ().get("MARINA_PART") == ENGINE.part:
            os.kill(process.pid, signal.SIGKILL)
    _until(lambda: not [each for each in left_running(stack) if each.environ().get("MARINA_PART") == ENGINE.part])


def _until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)
