"""Readiness: HTTP, the Open Inference Protocol and gRPC say the same at every moment."""

import signal
from pathlib import Path

import grpc
import requests

from gateway.oip import open_inference_pb2 as pb
from tests.gateway.gateway_program import stub
from tests.gateway.given import GivenTorchServe
from tests.gateway.test_app import program
from tests.polling import wait_for
from tests.ports import free_port


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
        assert process.wait(30) in (0, -signal.SIGTERM)
