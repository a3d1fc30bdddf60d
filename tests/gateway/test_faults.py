"""Time limits, clients that leave, an engine that is not there, and one that comes back."""

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from gateway.examples import PICTURE
from gateway.metrics import BREAKER_NAMES
from tests.gateway.conftest import register_all
from tests.gateway.engine import Engine, hold
from tests.gateway.served import gateway_for
from tests.polling import wait_for

FRAGILE = "/models/fragile/predict"


def metric(gateway: str, name: str, **labels: str) -> float:
    """Sum of the samples that carry these labels."""
    text = requests.get(f"{gateway}/metrics", timeout=30).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())


def test_a_deadline_that_passes_is_answered_with_504(gateway: str) -> None:
    answer = requests.post(gateway + FRAGILE, data=b"sleep", headers={"X-Deadline-Ms": "200"}, timeout=30)
    assert (answer.status_code, answer.json()["error"]) == (504, "deadline_passed")


def test_a_request_without_a_deadline_gets_the_configured_one(engine: Engine) -> None:
    with gateway_for(engine, "gateway.deadline_ms=200") as gateway:
        assert requests.post(gateway + FRAGILE, data=b"sleep", timeout=30).status_code == 504
        patient = requests.post(gateway + FRAGILE, data=b"sleep", headers={"X-Deadline-Ms": "20000"}, timeout=30)
        assert patient.status_code == 200


def test_no_deadline_is_longer_than_the_longest_allowed(engine: Engine) -> None:
    with gateway_for(engine, "gateway.max_deadline_ms=200") as gateway:
        answer = requests.post(gateway + FRAGILE, data=b"sleep", headers={"X-Deadline-Ms": "20000"}, timeout=30)
        assert answer.status_code == 504


def test_a_client_that_hangs_up_frees_its_place(engine: Engine, tmp_path: Path) -> None:
    with gateway_for(engine) as gateway, hold(tmp_path) as body:
        assert requests.post(gateway + FRAGILE, data=PICTURE, timeout=30).status_code == 200
        address = urlsplit(gateway)
        connection = socket.create_connection((address.hostname or "", address.port or 0), timeout=30)
        with connection:
            head = f"POST {FRAGILE} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            # The request for the metrics is in flight itself.
            wait_for(lambda: metric(gateway, "marina_gateway_requests_in_flight") == 2)
        wait_for(lambda: metric(gateway, "marina_gateway_requests_in_flight") == 1)
        assert metric(gateway, "marina_gateway_request_seconds_count", status="499", model="fragile") == 1
        assert metric(gateway, "marina_gateway_upstream_seconds_count", status="lost", model="fragile") == 1


def test_a_worker_that_dies_is_no_success_and_the_model_answers_again(gateway: str) -> None:
    died = requests.post(gateway + FRAGILE, data=b"die", timeout=30)
    assert (died.status_code, died.json()["error"]) == (503, "no_worker")
    wait_for(lambda: requests.post(gateway + FRAGILE, data=PICTURE, timeout=30).status_code == 200)


@pytest.mark.parametrize("path", ["/models/digits/predict", "/predict_proba"])
def test_an_engine_that_never_started_is_no_worker(no_engine: Engine, path: str) -> None:
    with gateway_for(no_engine) as gateway:
        answer = requests.post(gateway + path, data=PICTURE, timeout=30)
        assert (answer.status_code, answer.json()["error"]) == (503, "no_worker")
        assert str(no_engine.inference_port) not in answer.text
        assert str(no_engine.management_port) not in answer.text


def test_the_engine_may_stop_and_come_back_without_a_restart_of_the_gateway(engine: Engine) -> None:
    with gateway_for(engine) as gateway, requests.Session() as session:

        def status() -> int:
            return session.post(f"{gateway}/models/digits/predict", data=PICTURE, timeout=30).status_code

        def breaker() -> str:
            return BREAKER_NAMES[int(metric(gateway, "marina_gateway_breaker_state", model="digits"))]

        with ThreadPoolExecutor(8) as pool:  # several connections to the engine are open when it goes
            assert set(pool.map(lambda _: status(), range(16))) == {200}
        before = engine.keys()
        engine.stop()
        try:
            assert {status() for _ in range(12)} == {503}
            assert breaker() == "open"
            assert session.get(f"{gateway}/readyz", timeout=30).status_code == 503
            assert session.get(f"{gateway}/models", timeout=30).status_code == 503
            assert session.get(f"{gateway}/healthz", timeout=30).status_code == 200
        finally:
            engine.start()
            register_all(engine)
        assert engine.keys()["inference"] != before["inference"]
        # No request is needed for that: an idle model that works does not stay refused.
        wait_for(lambda: breaker() == "closed")
        assert session.get(f"{gateway}/readyz", timeout=30).status_code == 200
        with ThreadPoolExecutor(20) as pool:
            assert list(pool.map(lambda _: status(), range(20))) == [200] * 20
