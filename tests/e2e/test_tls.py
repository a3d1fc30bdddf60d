"""TLS in front of the gateway, by the server block of docs/tls.md; and a gateway that restarts behind it."""

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from gateway.apikey import new_key
from settings import load
from settings.load import ROOT
from tests.e2e.conftest import Stack
from tests.e2e.tls_server import NAME, Tls, tls
from tests.polling import wait_for
from tests.ports import free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("curl") is None or shutil.which("nginx") is None, reason="needs curl and nginx"),
]
STATE = ("-H", "Content-Type: application/json", "-d", "[0, 0, 0.1, 0.5]")
KEYS = "gateway.security.api_keys"
CARTPOLE = "/models/cartpole/predict"


@pytest.fixture(scope="module")
def front(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    port = str(free_port())
    gateway = started(stack, port, f"gateway.security.hosts=[{NAME}]")
    try:
        with tls(tmp_path_factory.mktemp("tls"), port, str(free_port())) as server:
            yield server
    finally:
        gateway.terminate()
        gateway.wait(60)


def test_a_prediction_comes_back_over_http2_with_its_request_id(front: Tls) -> None:
    form = ("-w", "\n%{http_version} %{http_code} %header{x-request-id} %header{strict-transport-security}")
    printed = front.curl("--http2", "-H", "X-Request-Id: from-the-client", *STATE, *form, front.url(CARTPOLE))
    body, told = printed.splitlines()
    assert json.loads(body)["predictions"][0]["action"] in {0, 1}
    assert told == "2 200 from-the-client max-age=31536000"
    made_up = front.curl(*STATE, "-o", "/dev/null", "-w", "%header{x-request-id}", front.url(CARTPOLE))
    assert len(made_up) > 8


def test_http_is_sent_to_https_with_its_method_and_path(front: Tls) -> None:
    url = f"http://{NAME}:{front.http}{CARTPOLE}?a=b"
    printed = front.curl(*STATE, "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", url, port=front.http)
    assert printed == f"308 https://{NAME}{CARTPOLE}?a=b"


def test_a_body_beyond_the_gateways_own_limit_is_refused_in_its_words(front: Tls, tmp_path: Path) -> None:
    limit = load().gateway.max_body_bytes
    for size, status in ((limit, 400), (limit + 1, 413)):  # as large as may be, and no picture
        (tmp_path / "body").write_bytes(b"\0" * size)
        words = ("-H", "Content-Type: image/png", "-H", "Expect:", "--data-binary", f"@{tmp_path / 'body'}")
        printed = front.curl(*words, "-w", "\n%{http_code}", front.url("/models/digits/predict"))
        body, told = printed.rsplit("\n", 1)
        assert int(told) == status, body
        assert set(json.loads(body)) == {"error", "detail", "request_id"}


def test_metrics_stay_on_this_machine(front: Tls, stack: Stack) -> None:
    assert front.curl("-o", "/dev/null", "-w", "%{http_code}", front.url("/metrics")) == "404"
    assert requests.get(f"{stack.gateway}/metrics", timeout=30).ok


def test_a_gateway_that_is_away_is_a_503_in_its_words(tmp_path: Path) -> None:
    with tls(tmp_path, str(free_port()), str(free_port())) as front:
        printed = front.curl(*STATE, "-w", "\n%{http_code} %header{retry-after}", front.url(CARTPOLE))
    body, told = printed.rsplit("\n", 1)
    assert told == "503 1"
    assert json.loads(body)["error"] == "no_worker"


class Clients:
    """Three clients that ask again and again with one key, and count their answers."""

    def __init__(self, front: Tls, key: str) -> None:
        self.key, self.statuses = key, list[int]()
        self._front, self._ended = front, threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(3)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        url = f"https://127.0.0.1:{self._front.https}{CARTPOLE}"
        with requests.Session() as session:
            while not self._ended.is_set():
                headers = {"Authorization": f"Bearer {self.key}", "Host": NAME, "Content-Type": "application/json"}
                answer = session.post(url, data="[0, 0, 0.1, 0.5]", headers=headers, verify=False, timeout=60)
                self.statuses.append(answer.status_code)


def knowing(*keys: str) -> str:
    """The setting of a gateway that knows these keys."""
    listed = ",".join(
        f"{{name: k{number}, sha256: {hashlib.sha256(key.encode()).hexdigest()}}}" for number, key in enumerate(keys)
    )
    return f"{KEYS}=[{listed}]"


def started(stack: Stack, port: str, *overrides: str) -> "subprocess.Popen[bytes]":
    """A gateway for the stack's engine, once it is ready."""
    process = subprocess.Popen(
        [sys.executable, "app.py", f"gateway.port={port}", "gateway.grpc_port=null", *overrides],
        cwd=ROOT,
        env=stack.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: _is_ready(port))
    return process


def _is_ready(port: str) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).ok
    except requests.RequestException:
        return False


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_an_api_key_is_replaced_and_no_client_notices(stack: Stack, tmp_path: Path) -> None:
    (old, _), (new, _) = new_key(), new_key()
    port, spare_port = str(free_port()), str(free_port())
    running = {port: started(stack, port, knowing(old))}
    try:
        with tls(tmp_path, port, spare_port) as front, Clients(front, old) as clients:
            for keys in ((old, new), (new,)):
                if keys == (new,):
                    clients.key = new  # every client has the new key before the old one goes
                    seen = len(clients.statuses)
                    wait_for(lambda seen=seen: len(clients.statuses) > seen + 6)  # type: ignore[misc]
                running[spare_port] = started(stack, spare_port, knowing(*keys))
                for number in (port, spare_port):
                    running[number].terminate()
                    running[number].wait(60)
                    if number == port:
                        running[port] = started(stack, port, knowing(*keys))
            assert set(clients.statuses) == {200}
            clients.key = old
            wait_for(lambda: clients.statuses[-1] == 401)
    finally:
        for process in running.values():
            process.terminate()
            process.wait(60)
