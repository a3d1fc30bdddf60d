"""`python app.py` as a program of its own."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from gateway.examples import PICTURE
from tests.gateway.engine import Engine, hold
from tests.gateway.given import GivenTorchServe
from tests.polling import wait_for
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def program(
    engine: Engine | GivenTorchServe, log: Path, *overrides: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    arguments = [
        f"gateway.port={port}",
        f"gateway.grpc_port={free_port()}",
        *engine.overrides,
        *overrides,
    ]
    with log.open("wb") as stream:
        process = subprocess.Popen([sys.executable, "app.py", *arguments], cwd=ROOT, stderr=stream, stdout=stream)
    try:
        wait_for(lambda: _alive(f"http://127.0.0.1:{port}"))
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait(30)


def _counted(url: str, model: str) -> dict[str, int] | None:
    models = requests.get(f"{url}/console/state", timeout=30).json()["models"]
    return next((each["statuses"] for each in models if each["name"] == model), None)


def _alive(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=5).status_code == 200
    except OSError:
        return False


@pytest.mark.parametrize("processes", [1, 2])
def test_the_program_answers_and_logs_json_without_bodies_or_keys(
    engine: Engine, tmp_path: Path, processes: int
) -> None:
    log = tmp_path / "log"
    with program(engine, log, f"gateway.processes={processes}", "gateway.access_log=true") as (url, _):
        headers = {"X-Request-Id": "order-66"}
        body = {"cart_position": 0.123456789}
        assert (
            requests.post(f"{url}/models/cartpole/predict", json=body, headers=headers, timeout=30).status_code == 200
        )
        # Each look is a connection of its own, so that it may be any of the processes that tells of the request.
        wait_for(lambda: all(_counted(url, "cartpole") == {"200": 1} for _ in range(8)))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (access,) = [line for line in lines if line["event"] == "request" and line["path"].endswith("/predict")]
    assert (access["request_id"], access["status"], access["model"]) == ("order-66", 200, "cartpole")
    hidden = ["0.123456789", *engine.keys().values()]
    assert [word for word in hidden if word in log.read_text()] == []


def test_a_stop_waits_for_the_request_in_flight(engine: Engine, tmp_path: Path) -> None:
    answers: list[int] = []
    with program(engine, tmp_path / "log", "gateway.stop_notice_ms=3000") as (url, process):

        def predict(body: bytes) -> None:
            answers.append(requests.post(f"{url}/models/fragile/predict", data=body, timeout=120).status_code)

        requests.post(f"{url}/models/fragile/predict", data=PICTURE, timeout=30)
        with hold(tmp_path) as body:
            thread = threading.Thread(target=predict, args=(body,))
            thread.start()
            wait_for(lambda: "marina_gateway_requests_in_flight 2.0" in requests.get(f"{url}/metrics", timeout=30).text)
            process.send_signal(signal.SIGTERM)
            assert requests.get(f"{url}/readyz", timeout=30).status_code == 503
        thread.join()
        assert process.wait(30) == 0
    assert answers == [200]
