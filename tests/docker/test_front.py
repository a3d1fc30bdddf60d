"""The real nginx with docker/front.conf and docker/front.sh before two small gateways: which of them answers."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.docker.filebrowser_server import DOCKER, NGINX
from tests.polling import wait_for
from tests.ports import free_port

# Answers its name, and /full with 503, on a Unix socket.
GATEWAY = """
import http.server, os, socketserver, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.path.basename(sys.argv[1]).encode()
        self.send_response(503 if self.path == "/full" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    protocol_version, address_string, log_message = "HTTP/1.1", lambda self: "", lambda *_: None
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
Server(sys.argv[1], Answer).serve_forever()
"""


@dataclass(frozen=True)
class Front:
    """A running front, and its gateways by their sockets' names."""

    port: int
    gateways: dict[str, "subprocess.Popen[bytes]"]
    log: Path

    def answers(self, path: str = "/", timeout_s: float = 10) -> str:
        """Return the name of the gateway that answers, with the status of an error."""
        answer = requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=timeout_s)
        return answer.text if answer.ok else f"{answer.status_code} {answer.text}"

    @property
    def events(self) -> list[str]:
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [json.loads(line)["gateways"] for line in lines]


@pytest.fixture
def front() -> Iterator[Front]:
    assert NGINX is not None, "nginx is not installed: apt-get install nginx-light"
    with tempfile.TemporaryDirectory(prefix="front") as name:
        folder = Path(name)
        ports = {"5003": free_port(), "5004": free_port(), "5000": free_port()}
        for file in ("front.conf", "front.sh"):
            text = (DOCKER / file).read_text().replace("/run/marina", name).replace("/run/gateways", name)
            for inside, outside in ports.items():
                text = text.replace(inside, str(outside))
            (folder / file).write_text(text)
        if os.getuid() == 0:  # whose nginx would otherwise hand its workers to somebody who may not use the sockets
            (folder / "front.conf").write_text(f"user root;\n{(folder / 'front.conf').read_text()}")
        gateways = {
            each: subprocess.Popen([sys.executable, "-c", GATEWAY, str(folder / each)]) for each in ("gateway", "spare")
        }
        wait_for(lambda: all((folder / each).exists() for each in gateways))
        command = ["bash", str(folder / "front.sh"), NGINX, "-e", "stderr", "-c", str(folder / "front.conf")]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, stderr=log, start_new_session=True)
        try:
            made = Front(ports["5003"], gateways, folder / "log")
            wait_for(lambda: _listens(made))
            yield made
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(10)
            for gateway in gateways.values():
                gateway.kill()
                gateway.wait(10)


def _listens(front: Front) -> bool:
    try:
        return bool(front.answers())
    except requests.ConnectionError:
        return False


def test_requests_leave_a_gateway_that_hangs_and_return_when_it_answers(front: Front) -> None:
    assert front.answers() == "gateway"
    front.gateways["gateway"].send_signal(signal.SIGSTOP)
    wait_for(lambda: front.events == ["only_spare"])
    assert [front.answers() for _ in range(20)] == ["spare"] * 20
    front.gateways["gateway"].send_signal(signal.SIGCONT)
    wait_for(lambda: front.events == ["only_spare", "both"])
    assert front.answers() == "gateway"
    front.gateways["gateway"].kill()
    assert front.answers() == "spare"  # at once


def test_a_refusal_of_the_first_does_not_wait_for_a_spare_that_hangs(front: Front) -> None:
    assert front.answers("/full") == "503 spare"
    front.gateways["spare"].send_signal(signal.SIGSTOP)
    wait_for(lambda: front.events == ["only_gateway"])
    assert front.answers("/full") == "503 gateway"
