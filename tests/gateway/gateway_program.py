"""The gateway as a program of its own, `python app.py`, with its gRPC port."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import requests
from google.protobuf import message_factory

from gateway.oip import open_inference_pb2 as pb
from tests.gateway.engine import Engine
from tests.gateway.given import GivenTorchServe
from tests.polling import wait_for
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Served:
    """A gateway that runs as a program: where it is reached."""

    http: str
    grpc: str
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://{self.http}"


@contextmanager
def program(engine: Engine | GivenTorchServe, *overrides: str, log: Path | None = None) -> Iterator[Served]:
    """`python app.py` in front of this engine until the end of the block."""
    port, grpc_port = free_port(), free_port()
    arguments = [
        f"gateway.port={port}",
        f"gateway.grpc_port={grpc_port}",
        *engine.overrides,
        *overrides,
    ]
    with (log or Path("/dev/null")).open("ab") as stream:
        process = subprocess.Popen([sys.executable, "app.py", *arguments], cwd=ROOT, stderr=stream, stdout=stream)
    served = Served(f"127.0.0.1:{port}", f"127.0.0.1:{grpc_port}", process)
    try:
        wait_for(lambda: _alive(served.url))
        yield served
    finally:
        process.terminate()
        process.wait(30)


def _alive(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=5).status_code == 200
    except OSError:
        return False


def stub(channel: grpc.Channel) -> Any:
    """The calls of the Open Inference Protocol over this channel, by their names."""
    calls = SimpleNamespace()
    for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
        call = channel.stream_stream if method.client_streaming else channel.unary_unary
        asked, answered = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
        path = f"/{method.containing_service.full_name}/{method.name}"
        made = call(path, request_serializer=asked.SerializeToString, response_deserializer=answered.FromString)
        setattr(calls, method.name, made)
    return calls
