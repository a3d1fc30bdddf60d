"""The keeper: the engine comes back without its models, and nobody runs `make up`."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import requests

from tests.e2e.conftest import ENGINE, Stack, left_running, new_stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def answers(stack: Stack) -> bool:
    answer = requests.post(f"{stack.gateway}/models/cartpole/predict", json=[0, 0, 0.1, 0.5], timeout=30)
    return answer.status_code == 200


def test_a_restarted_engine_gets_its_models_back(archives: Path, tmp_path: Path) -> None:
    stack = new_stack(tmp_path, archives)
    kept = again = None
    try:
        stack.run("-m", "stack", "up")
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
        assert said.count("cartpole 1.0 serves again") == 1
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
