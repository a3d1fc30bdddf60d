"""TorchServe is stopped under load: what it has accepted is answered, and clients are told when to come back."""

import threading
from collections import Counter
from pathlib import Path

import pytest
import requests

from stack import processes
from stack.folders import Folders
from tests.e2e.conftest import Stack, left_running, new_stack
from tests.polling import wait_for

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.torchserve(reason="the first process of TorchServe"),
]
CLIENTS = 8


def test_engine_that_is_stopped_loses_no_answer_and_comes_back(archives: Path, tmp_path: Path) -> None:
    stack = new_stack(tmp_path, archives)
    folders = Folders(stack.state, stack.state / "model_store", keeps_model_store=False)
    try:
        stack.run("-m", "stack", "up")
        stack.run("upload_model.py", "served_model=cartpole")
        answers: Counter[str] = Counter()
        over = threading.Event()
        clients = [threading.Thread(target=_ask, args=(stack, answers, over)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            wait_for(lambda: answers["200"] > 200)
            first = processes.main_process("torchserve", folders)
            assert first is not None
            first.terminate()
            first.wait(60)
            before = answers["200"]
            wait_for(lambda: answers["200"] > before + 200)  # the stack's keeper has started it again
        finally:
            over.set()
            for client in clients:
                client.join()
        assert set(answers) == {"200", "503, come back"}
        log = (stack.state / "logs" / "torchserve.log").read_text()
        assert '"event": "drained", "complete": true' in log
    finally:
        stack.run("-m", "stack", "down")
    assert left_running(stack) == []


def _ask(stack: Stack, answers: Counter[str], over: threading.Event) -> None:
    with requests.Session() as session:
        while not over.is_set():
            answer = session.post(stack.predict_url("cartpole"), json=[0, 0, 0.1, 0.5], timeout=60)
            told = ", come back" if "retry-after" in answer.headers else ""
            answers[f"{answer.status_code}{told}"] += 1
            if told:
                over.wait(float(answer.headers["retry-after"]) / 10)
