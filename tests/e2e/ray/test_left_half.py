"""A Manager killed in the middle of a change: the next one has it done or undone, and the next upload works."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests

from tests.e2e.conftest import Stack
from tests.e2e.ray import victims
from tests.e2e.ray.nodes import PATIENCE_S, wait_until
from tests.e2e.ray.serving import PATIENT, key, manage, registered
from tests.engines.python.archives import pack

pytestmark = [pytest.mark.e2e, pytest.mark.ray]
# Loads when a door is open, and until then leaves a note that it waits.
WAITING = """
import os
import time


def handle(data, context):
    if data is None:
        while not os.path.exists({door!r}):
            open(f"{door}.{{os.getpid()}}", "w").close()
            time.sleep(0.05)
        return None
    return [{answer!r}] * len(data)
"""


class Slow:
    """A model of the store whose workers load when its door is open."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._door = folder / "door"

    def build(self, answer: str) -> None:
        """Put it into the store, answering this."""
        (self._folder / "slow.py").write_text(WAITING.format(door=str(self._door), answer=answer))
        (self._stack.archives / "slow.mar").unlink(missing_ok=True)
        pack(self._stack.archives, "slow", self._folder / "slow.py")

    def open(self) -> None:
        self._door.touch()

    def close(self) -> None:
        for path in self._folder.glob("door*"):
            path.unlink()

    def waiting(self) -> int:
        """Workers that stand before the door."""
        return len(list(self._folder.glob("door.*")))

    def register(self) -> requests.Response:
        url = f"{self._stack.files}/files/slow.mar"
        return manage(self._stack, "POST", "/models", url=url, initial_workers=1, synchronous="true", batch_size=2)

    def workers(self) -> int:
        return len([each for each in victims.found(self._stack, "worker") if "@slow@" in " ".join(each.cmdline())])

    def ask(self) -> str:
        headers = {"Authorization": f"Bearer {key(self._stack, 'inference')}"}
        url = f"http://127.0.0.1:{self._stack.env['MARINA_INFERENCE_PORT']}/predictions/slow"
        return requests.post(url, data=b"x", headers=headers, timeout=120).text


@pytest.fixture
def slow(serving: Stack, tmp_path: Path) -> Iterator[Slow]:
    made = Slow(serving, tmp_path)
    yield made
    made.open()
    manage(serving, "DELETE", "/models/slow")


@contextmanager
def beside(function: object) -> Iterator[None]:
    """Something that is asked of a Manager that will not answer any more."""

    def run() -> None:
        with suppress(requests.RequestException):
            function()  # type: ignore[operator]  # any of the calls below

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_a_registration_that_was_cut_off_leaves_nothing_and_can_be_made_again(serving: Stack, slow: Slow) -> None:
    before = registered(serving)
    slow.build("first")
    with beside(slow.register):
        wait_until(lambda: slow.waiting() > 0, "a worker loads")
        victims.kill(serving, "manager")
    slow.open()
    serving.run("-m", "stack", "up", *PATIENT)
    assert registered(serving) == before
    wait_until(lambda: slow.workers() == 0, "its worker is gone")
    # Under the same name and version, but another archive: nothing of the one before may answer.
    slow.build("second")
    answer = slow.register()
    assert answer.status_code == 200, answer.text
    assert slow.ask() == "second"


def test_workers_of_a_scaling_that_was_cut_off_go_again(serving: Stack, slow: Slow) -> None:
    slow.build("same")
    slow.open()
    assert slow.register().status_code == 200
    before = registered(serving)
    slow.close()
    with beside(lambda: manage(serving, "PUT", "/models/slow", min_worker=3, synchronous="true")):
        wait_until(lambda: slow.waiting() > 0, "another worker loads")
        victims.kill(serving, "manager")
    slow.open()
    serving.run("-m", "stack", "up", *PATIENT)
    assert registered(serving) == before
    wait_until(lambda: slow.workers() == 1, "one worker is left")
    assert slow.ask() == "same"


@pytest.mark.parametrize(("step", "delay_ms"), [("workers", 7), ("watch", 9)])
def test_a_rollout_that_was_cut_off_is_ended_by_the_next_one(serving: Stack, step: str, delay_ms: int) -> None:
    journal = serving.state / "rollouts" / "cartpole.json"
    # What serves already is not rolled out again, so each of them wants something else.
    upload = ("upload_model.py", "served_model=cartpole", f"served_model.request_params.max_batch_delay={delay_ms}")
    rollout = serving.start(*upload)
    _reach(journal, step)
    victims.kill(serving, "manager")
    said, _ = rollout.communicate(timeout=300)
    assert rollout.returncode == 1, said
    assert "Traceback" not in said
    serving.run("-m", "stack", "up", *PATIENT)
    words = serving.run(*upload).split()
    version = words[words.index("serves") - 1]
    versions, default = registered(serving)["cartpole"]
    assert (list(versions), default) == ([version], version)
    answer = requests.post(f"{serving.gateway}/models/cartpole/predict", json=[0, 0, 0.1, 0.5], timeout=120)
    assert (answer.status_code, answer.json()["version"]) == (200, version)
    wait_until(lambda: _names(serving, "@cartpole@") == {f"marina@cartpole@{version}"}, "only its workers are left")
    assert not journal.exists()


def _reach(journal: Path, step: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError):
            if json.loads(journal.read_text())["step"] == step:
                return
        time.sleep(0.002)
    raise AssertionError(f"no rollout came to its step {step}")


def _names(stack: Stack, part: str) -> set[str]:
    """Names of the applications whose workers run."""
    titles = (" ".join(each.cmdline()) for each in victims.found(stack, "worker"))
    return {title.split(":")[3] for title in titles if part in title}
