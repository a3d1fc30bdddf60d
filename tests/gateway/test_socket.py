"""A Unix socket beside the ports, for a proxy on the same machine: `gateway.socket`."""

import http.client
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from gateway.oip import open_inference_pb2 as pb
from tests.gateway.engine import Engine
from tests.gateway.gateway_program import ROOT, program, stub
from tests.polling import wait_for
from tests.ports import free_port


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def status(path: Path, target: str, headers: dict[str, str] | None = None) -> int:
    connection = UnixConnection(path)
    try:
        connection.request("GET", target, headers=headers or {})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("processes", [1, 2])
def test_socket_answers_beside_the_ports(engine: Engine, tmp_path: Path, processes: int) -> None:
    path = tmp_path / "gateway"
    with program(engine, f"gateway.socket={path}", f"gateway.processes={processes}") as served:
        assert status(path, "/models") == 200
        wait_for(Path(f"{path}.grpc").exists)
        for address in (served.grpc, f"unix:{path}.grpc"):
            with grpc.insecure_channel(address) as channel:
                assert stub(channel).ServerLive(pb.ServerLiveRequest(), wait_for_ready=True, timeout=20).live
        for made in (path, Path(f"{path}.grpc")):
            assert stat.S_IMODE(made.stat().st_mode) == 0o600


def test_socket_asks_for_the_key(engine: Engine, tmp_path: Path) -> None:
    digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # of `secret`
    keys = f"gateway.security.api_keys=[{{name: client, sha256: {digest}, rate: null}}]"
    path = tmp_path / "gateway"
    with program(engine, f"gateway.socket={path}", keys):
        assert status(path, "/models") == 401
        assert status(path, "/models", {"X-Api-Key": "secret"}) == 200


def test_socket_of_a_killed_gateway_is_replaced(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "gateway"
    with program(engine, f"gateway.socket={path}") as served:
        served.process.send_signal(signal.SIGKILL)
        served.process.wait(30)
    assert path.is_socket()
    with program(engine, f"gateway.socket={path}"):
        assert status(path, "/healthz") == 200


def test_socket_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "gateway"
    settings = [f"gateway.socket={path}", f"gateway.port={free_port()}", "gateway.grpc_port=null"]
    command = [sys.executable, "app.py", *settings]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert f"error: gateway.socket={path} cannot be made: No such file or directory" in done.stderr


def test_socket_spares_a_file_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("keep")
    settings = [f"gateway.socket={path}", f"gateway.port={free_port()}", "gateway.grpc_port=null"]
    command = [sys.executable, "app.py", *settings]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert f"error: gateway.socket={path} is there already and is no socket" in done.stderr
    assert path.read_text() == "keep"
