"""The disk of delivery's state fills beside a real engine: rollouts stop, and models still come back."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from settings.load import temporary
from tests.e2e.conftest import ENGINE, Stack, left_running, new_stack
from tests.polling import wait_for
from tests.small_disk import SmallDisk, small_disk

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "delivery"
    folder.mkdir()
    with small_disk(folder, 2048, kind="ext4") as made:
        yield made


def answers(stack: Stack) -> bool:
    answer = requests.post(stack.predict_url("cartpole"), json=[0, 0, 0.1, 0.5], timeout=30)
    return answer.status_code == 200


def kill_engine(stack: Stack) -> None:
    for process in left_running(stack):
        if psutil.pid_exists(process.pid) and process.environ().get("MARINA_PART") == ENGINE.part:
            os.kill(process.pid, signal.SIGKILL)


def test_models_come_back_while_the_disk_of_the_state_is_full(archives: Path, tmp_path: Path, disk: SmallDisk) -> None:
    stack = new_stack(tmp_path / "stack", archives)
    # As in containers, delivery's state is on a disk of its own.
    own = [
        f"paths.state={disk.folder}",
        f"engine.key_file={stack.key_file}",
        f"engine.unpacked={temporary(stack.state)}/models",
        "rollout.watch_s=0",
    ]
    upload = ("upload_model.py", "served_model=cartpole", *own)
    keeper: subprocess.Popen[str] | None = None
    try:
        stack.run("-m", "stack", "up")
        stack.run(*upload)
        keeper = stack.start("-m", "delivery", "keep", *own)
        disk.fill()
        said = stack.run(*upload, "served_model.request_params.max_batch_delay=7", status=1).splitlines()[-1]
        assert said.startswith("error: cartpole 1.1 was not rolled out: ")
        assert "No space left on device (" in said
        assert said.endswith("version 1.0 serves as before")
        assert answers(stack)
        kill_engine(stack)
        wait_for(lambda: not answers(stack))
        wait_for(lambda: answers(stack), 90)

        disk.free()
        killed = stack.start(*upload, "served_model.request_params.max_batch_delay=7")
        journal = disk.folder / "rollouts" / "cartpole.json"
        wait_for(lambda: journal.exists() and '"workers"' in journal.read_text())
        disk.fill()
        killed.kill()
        killed.communicate(timeout=30)
        kill_engine(stack)
        wait_for(lambda: not answers(stack))
        wait_for(lambda: answers(stack), 90)
        disk.free()
        assert "cartpole 1.2 serves now" in stack.run(*upload, "served_model.request_params.max_batch_delay=7")
        keeper.send_signal(signal.SIGTERM)
        said, _ = keeper.communicate(timeout=60)
        assert said.count("cartpole 1.0 serves again") == 2, said
        assert "is restored without a journal" in said
        assert "Traceback" not in said
    finally:
        if keeper is not None and keeper.poll() is None:
            keeper.kill()
            keeper.communicate(timeout=30)
        stack.run("-m", "stack", "down")
    assert left_running(stack) == []
