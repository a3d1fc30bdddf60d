"""Stopping, dying and many processes, with the real program under load."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.gateway.engine import VISION, Engine, hold
from tests.gateway.test_app import program
from tests.gateway.test_faults import metric
from tests.polling import wait_for

PICTURES = "/models/digits/predict"
STATE = {"cart_position": 0, "cart_velocity": 0, "pole_angle": 0, "pole_angular_velocity": 0}


class Clients:
    """Threads that ask without pause; `found` counts answers and lost connections."""

    def __init__(self, url: str, path: str, count: int, deadline_ms: int) -> None:
        self._deadline = {"X-Deadline-Ms": f"{deadline_ms}"}
        self.found: Counter[str] = Counter()
        self.stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(url + path, n)) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self, url: str, number: int) -> None:
        with requests.Session() as session:
            for turn in range(1_000_000):
                if self.stop.is_set():
                    return
                try:
                    picture = b"a picture of some length %d %d" % (number, turn)
                    answer = session.post(url, data=picture, headers=self._deadline, timeout=60)
                except requests.ConnectionError as error:
                    self.found[f"lost: {error}"] += 1
                    return
                self.found["200" if answer.status_code == 200 else answer.json()["error"]] += 1
                if answer.headers.get("connection") == "close":
                    return  # as balancers do: the gateway said that it goes

    def join(self) -> Counter[str]:
        for thread in self._threads:
            thread.join()
        return self.found


@contextmanager
def clients(url: str, path: str, count: int = 8, deadline_ms: int = 30_000) -> Iterator[Clients]:
    made = Clients(url, path, count, deadline_ms)
    try:
        yield made
    finally:
        made.stop.set()
        made.join()


@pytest.mark.parametrize(("processes", "notice_ms"), [(1, 3000), (2, 500)])
def test_a_stop_under_load_loses_no_accepted_request(
    engine: Engine, tmp_path: Path, processes: int, notice_ms: int
) -> None:
    overrides = (f"gateway.processes={processes}", f"gateway.stop_notice_ms={notice_ms}")
    with program(engine, tmp_path / "log", *overrides) as (url, process):
        wait_for(lambda: requests.get(f"{url}/readyz", timeout=30).status_code == 200)
        with clients(url, PICTURES) as asking:
            wait_for(lambda: asking.found["200"] > 50)
            process.send_signal(signal.SIGTERM)
            if processes == 1:
                ready = requests.get(f"{url}/readyz", timeout=30)
                assert (ready.status_code, ready.headers["connection"]) == (503, "close")
            found = asking.join()
        assert set(found) == {"200"}


def worker_pids(engine: Engine, model: str) -> list[int]:
    return [int(worker["pid"]) for worker in engine.manage("GET", f"/models/{model}").json()[0]["workers"]]


def test_a_killed_worker_of_two_costs_no_request_but_those_that_torchserve_forgets(
    engine: Engine, gateway: str
) -> None:
    if requests.get(f"{gateway}/models/twins", timeout=30).status_code == 404:
        engine.add("twins", VISION, workers=2)
    with clients(gateway, "/models/twins/predict", deadline_ms=5000) as asking:
        wait_for(lambda: asking.found["200"] > 50)
        os.kill(worker_pids(engine, "twins")[0], signal.SIGKILL)
        before = asking.found["200"]
        wait_for(lambda: asking.found["200"] > before + 200)
        asking.stop.set()
        found = asking.join()
        # TorchServe forgets what a worker was collecting for a batch when it died: one batch at most.
        assert set(found) <= {"200", "deadline_passed"}
        assert found["deadline_passed"] <= int(engine.manage("GET", "/models/twins").json()[0]["batchSize"])


def test_metrics_of_several_processes_are_added_up(engine: Engine, tmp_path: Path) -> None:
    with program(engine, tmp_path / "log", "gateway.processes=2") as (url, _):
        for _ in range(20):  # each over a connection of its own, so that both processes have a chance
            assert requests.post(f"{url}/predict", json=STATE, timeout=30).status_code == 200
        counts = {metric(url, "marina_gateway_request_seconds_count", model="cartpole") for _ in range(10)}
        assert counts == {20}


def test_a_model_that_rests_says_so(engine: Engine, gateway: str) -> None:
    for _ in range(12):
        assert requests.post(f"{gateway}/models/idle/predict", data=b"x", timeout=30).status_code == 503
    assert requests.get(f"{gateway}/models/idle", timeout=30).json()["breaker"] == "open"
    assert metric(gateway, "marina_gateway_breaker_state", model="idle") == 2
    assert requests.post(gateway + PICTURES, data=b"x", timeout=30).status_code == 200


def test_beyond_its_places_a_model_answers_429_with_retry_after(engine: Engine, tmp_path: Path) -> None:
    with program(engine, tmp_path / "log", "gateway.admission.max_places=2") as (url, _):
        fragile = f"{url}/models/fragile/predict"
        assert requests.post(fragile, data=b"x", timeout=30).status_code == 200
        with hold(tmp_path) as body:
            threads = [threading.Thread(target=requests.post, args=(fragile, body + b"%d" % n)) for n in range(2)]
            for thread in threads:
                thread.start()
            wait_for(lambda: metric(url, "marina_gateway_requests_admitted", model="fragile") == 2)
            answer = requests.post(fragile, data=b"x", timeout=30)
        assert (answer.status_code, answer.json()["error"]) == (429, "over_capacity")
        assert int(answer.headers["retry-after"]) >= 1
        for thread in threads:
            thread.join()
        assert requests.post(fragile, data=b"x", timeout=30).status_code == 200
