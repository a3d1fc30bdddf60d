"""Readiness, also of an engine that hangs: HTTP, the Open Inference Protocol and gRPC say the same at every moment."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import requests

from gateway.examples import PICTURE
from gateway.oip import open_inference_pb2 as pb
from tests.gateway import gateway_program
from tests.gateway.engine import Engine
from tests.gateway.gateway_program import stub
from tests.gateway.given import GivenTorchServe
from tests.gateway.test_app import program
from tests.polling import wait_for
from tests.ports import free_port

HEALTH = ("/readyz", "/v2/health/ready")
PROBE_S = 10  # far below a request's own 60 s, and on a busy machine enough for what looks at the engine for 2 s


@contextmanager
def hanging(engine: Engine) -> Iterator[None]:
    """TorchServe accepts connections and answers nothing."""
    assert engine.process is not None
    os.killpg(engine.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(engine.process.pid, signal.SIGCONT)


def test_readiness_of_an_engine_that_hangs_and_goes_on(engine: Engine) -> None:
    with gateway_program.program(engine) as served, grpc.insecure_channel(served.grpc) as channel:
        calls = stub(channel)

        def said() -> list[bool]:
            # Probes have limits of seconds, however long the engine takes.
            found = [requests.get(served.url + path, timeout=PROBE_S).status_code == 200 for path in HEALTH]
            return [*found, calls.ServerReady(pb.ServerReadyRequest(), timeout=PROBE_S).ready]

        wait_for(lambda: all(said()))
        with hanging(engine):
            wait_for(lambda: not any(said()))
            assert "the engine does not answer" in requests.get(f"{served.url}/readyz", timeout=PROBE_S).text
            late = {"X-Deadline-Ms": "500", "Content-Type": "image/png"}
            answer = requests.post(f"{served.url}/models/digits/predict", data=PICTURE, headers=late, timeout=30)
            assert answer.status_code == 504
            # Later requests do not wait: in flight was only what was sent until then.
            wait_for(
                lambda: (
                    requests.post(
                        f"{served.url}/models/digits/predict", data=PICTURE, headers=late, timeout=30
                    ).status_code
                    == 503
                )
            )
            unlimited = {"Content-Type": "image/png"}
            answer = requests.post(
                f"{served.url}/models/digits/predict", data=PICTURE, headers=unlimited, timeout=PROBE_S
            )
            assert (answer.status_code, answer.json()["error"]) == (503, "no_worker")
            assert answer.headers["Retry-After"]
            for path in ("/models/nobody", "/v2/models/nobody", "/v2/models/digits/ready"):
                assert requests.get(served.url + path, timeout=PROBE_S).status_code == 503
        wait_for(lambda: all(said()))
        answer = requests.post(f"{served.url}/models/digits/predict", data=PICTURE, headers=unlimited, timeout=30)
        assert answer.status_code == 200


def test_readiness_while_stopping_is_the_same_everywhere(given: GivenTorchServe, tmp_path: Path) -> None:
    port = free_port()
    overrides = (f"gateway.grpc_port={port}", "gateway.stop_notice_ms=600000")
    with (
        program(given, tmp_path / "log", *overrides) as (url, process),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        requests.Session() as session,
    ):
        calls = stub(channel)

        def said() -> list[bool]:
            paths = ("/readyz", "/v2/health/ready", "/v2/models/digits/ready", "/v2/models/digits/versions/1.0/ready")
            found = [session.get(url + path, timeout=30).status_code == 200 for path in paths]
            model = calls.ModelReady(pb.ModelReadyRequest(name="digits"), timeout=30)
            return [*found, calls.ServerReady(pb.ServerReadyRequest(), timeout=30).ready, model.ready]

        wait_for(lambda: all(said()))
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: not any(said()))
        for path in ("/healthz", "/v2/health/live"):
            assert session.get(url + path, timeout=30).status_code == 200
        told = session.get(f"{url}/v2/health/ready", timeout=30).json()
        assert "about to stop" in told["error"]
        process.send_signal(signal.SIGTERM)  # asked twice: at once
        assert process.wait(30) == 0


def test_a_model_that_was_never_rolled_out_is_left_out_of_the_recorded_ones(engine: Engine) -> None:
    with gateway_program.program(engine, "gateway.default_policy=nobody") as served:
        wait_for(lambda: requests.get(f"{served.url}/readyz?models=recorded", timeout=PROBE_S).status_code == 200)
        answer = requests.get(f"{served.url}/readyz", timeout=PROBE_S)
        assert (answer.status_code, answer.json()["detail"]) == (503, "not ready: model nobody is not registered")
