"""A body that ends its worker, or keeps it for ever: it gets its own 500, and everybody else gets an answer."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.e2e.ray.bare import Engine
from tests.e2e.ray.nodes import wait_until
from tests.engines.python.archives import pack

pytestmark = [pytest.mark.e2e, pytest.mark.ray]
# What a decoder with a fault, the system's memory guard and a library that ends its process do.
WAYS = {
    "exit": "os._exit(7)",
    "segfault": "ctypes.string_at(0)",
    "kill": "os.kill(os.getpid(), signal.SIGKILL)",
    "hang": "threading.Event().wait()",
}
HANDLER = """
import ctypes, os, signal, threading, time


def handle(data, context):
    if data is None:
        return None
    bodies = [bytes(row["body"]) for row in data]
    for body in bodies:
        open({notes!r} + "/" + body.decode() + "." + str(time.monotonic_ns()), "w").close()
    if b"fatal" in bodies:
        while not os.path.exists({door!r}):
            time.sleep(0.01)
        {way}
    time.sleep(0.01)
    return [body.decode() for body in bodies]
"""


class Fatal:
    """A model whose worker ends at the body `fatal`, once the door is open; it notes what it was given."""

    def __init__(self, engine: Engine, folder: Path, way: str) -> None:
        self._engine = engine
        self._notes = folder / "notes"
        self._notes.mkdir()
        self._door = folder / "door"
        self.name = f"fatal_{way}"
        file = folder / f"{self.name}.py"
        file.write_text(HANDLER.format(notes=str(self._notes), door=str(self._door), way=WAYS[way]))
        archive = pack(engine.stack.archives, self.name, file)
        wanted = {"initial_workers": 2, "max_batch_delay": 20, "response_timeout": 60 if way != "hang" else 3}
        self._archive = archive
        answer = engine.register(archive, **wanted)
        assert answer.status_code == 200, answer.text

    def open(self) -> None:
        self._door.touch()

    def given(self, body: str) -> int:
        """How often a worker got this body."""
        return len(list(self._notes.glob(f"{body}.*")))

    def ask(self, body: str) -> requests.Response:
        return self._engine.ask(self.name, body.encode(), "application/octet-stream")

    def remove(self) -> None:
        self._engine.manage("DELETE", f"/models/{self.name}")
        self._archive.unlink()


@pytest.fixture
def fatal(engine: Engine, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fatal]:
    made = Fatal(engine, tmp_path, request.param)
    yield made
    made.open()
    made.remove()


def honest(fatal: Fatal, until: threading.Event) -> list[tuple[int, str]]:
    answers = []
    while not until.is_set():
        answer = fatal.ask("fine")
        answers.append((answer.status_code, answer.text))
    return answers


@pytest.mark.parametrize("fatal", ["exit", "segfault", "kill"], indirect=True)
def test_a_body_that_ends_its_worker_gets_its_own_500_and_the_others_of_its_batches_their_answers(fatal: Fatal) -> None:
    fatal.open()
    done = threading.Event()
    with ThreadPoolExecutor(9) as clients:
        others = [clients.submit(honest, fatal, done) for _ in range(8)]
        wait_until(lambda: fatal.given("fine") >= 50, "answers come")
        culprit = fatal.ask("fatal")
        seen = fatal.given("fine")
        wait_until(lambda: fatal.given("fine") >= seen + 50, "answers come again")
        done.set()
    assert (culprit.status_code, culprit.json()["error"]) == (500, "internal")
    assert {answer for other in others for answer in other.result()} == {(200, "fine")}
    # Twice with its batch, once by itself.
    assert 2 <= fatal.given("fatal") <= 3


@pytest.mark.parametrize("fatal", ["exit"], indirect=True)
def test_a_body_whose_client_has_gone_is_sent_to_no_other_worker(fatal: Fatal, engine: Engine) -> None:
    with socket.create_connection(("127.0.0.1", int(engine.stack.env["MARINA_INFERENCE_PORT"]))) as client:
        head = (
            f"POST /predictions/{fatal.name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {engine.key('inference')}\r\n"
        )
        client.sendall(f"{head}Content-Length: 5\r\n\r\nfatal".encode())
        wait_until(lambda: fatal.given("fatal") == 1, "a worker has it")
    fatal.open()
    assert [fatal.ask("fine").status_code for _ in range(20)] == [200] * 20
    assert fatal.given("fatal") == 1


@pytest.mark.parametrize("fatal", ["hang"], indirect=True)
def test_a_body_that_keeps_its_worker_for_ever_gets_500_and_a_new_worker_comes(fatal: Fatal, engine: Engine) -> None:
    def pids() -> set[int]:
        [found] = engine.manage("GET", f"/models/{fatal.name}").json()
        return {worker["pid"] for worker in found["workers"] if worker["status"] == "READY"}

    before = pids()
    assert len(before) == 2
    fatal.open()
    answer = fatal.ask("fatal")
    assert (answer.status_code, answer.json()["error"]) == (500, "internal")
    assert "did not answer within 3 s" in answer.text
    wait_until(lambda: len(pids()) == 2 and pids() != before, "its worker has a successor")
    assert [fatal.ask("fine").status_code for _ in range(20)] == [200] * 20
    assert fatal.given("fatal") == 1


@pytest.mark.parametrize("fatal", ["exit"], indirect=True)
def test_what_a_front_says_is_a_json_line_of_the_log(fatal: Fatal, engine: Engine) -> None:
    fatal.open()
    assert fatal.ask("fatal").status_code == 500
    assert "a request ended the workers of fatal_exit 1.0" in engine.logged("ray")
