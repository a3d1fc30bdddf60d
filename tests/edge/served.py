"""A running edge with its own ports and folders, started by the commands that users type."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from settings.load import ROOT
from tests.ports import free_port

NGINX_DEV = pytest.mark.skipif(
    shutil.which("cc") is None or not Path("/usr/share/nginx/src").is_dir(), reason="needs a C compiler and nginx-dev"
)
STATE = b'{"cart_position": 0, "cart_velocity": 0.5, "pole_angle": 0.1, "pole_angular_velocity": 0.25}'
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answered:
    """A response: status, body, headers in lower case."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> dict[str, object]:
        content: dict[str, object] = json.loads(self.body)
        return content


@dataclass(frozen=True)
class Served:
    """A running edge."""

    port: int
    env: dict[str, str]
    options: tuple[str, ...]

    def run(self, module: str, *arguments: str, status: int = 0) -> str:
        command = [sys.executable, "-m", module, *arguments, "served_model=cartpole", *self.options]
        done = subprocess.run(command, cwd=ROOT, env=self.env, text=True, capture_output=True, check=False, timeout=600)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] = JSON) -> Answered:
        connection = self.connect()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answered(response.status, response.read(), {k.lower(): v for k, v in response.getheaders()})
        finally:
            connection.close()

    def raw(self, data: bytes, timeout_s: float = 15) -> bytes:
        """Send bytes that need not be HTTP, and return what the edge sends until it closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s) as connection:
            connection.sendall(data)
            found = b""
            with contextlib.suppress(ConnectionResetError):  # how nginx lets go of a client that is too slow
                while part := connection.recv(65536):
                    found += part
            return found

    def count(self, route: str, status: int) -> int:
        line = f'route="{route}",status="{status}"}} '
        text = self.ask("GET", "/metrics").body.decode()
        return sum(int(each.partition(line)[2]) for each in text.splitlines() if line in each)


def prepared(folder: Path, *options: str) -> Served:
    """Return the edge of a folder without starting it."""
    port = free_port()
    env = {
        **os.environ,
        "MARINA_STATE": str(folder / "state"),
        "MARINA_ARCHIVES": str(folder),
        "MARINA_EDGE_PORT": str(port),
    }
    return Served(port, env, ("edge.parity_states=2000", *options))
