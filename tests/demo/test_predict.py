"""The demo asks the gateway as any client would and shows what came back."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import settings
from demo.digits import load_split, png
from demo.predict import DIGIT, STATE, lines
from errors import MarinaError

ANSWERS = {
    "/models/digits/predict": {"model": "digits", "version": "1.0", "predictions": [{"label": "7", "confidence": 0.9}]},
    "/models/cartpole/predict": {"model": "cartpole", "version": "1.0", "predictions": [{"action": 1}]},
}


class Gateway(ThreadingHTTPServer):
    """Answers as the gateway does and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: dict[str, tuple[str, bytes]] = {}
        self.keys: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Gateway

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked[self.path] = (self.headers["Content-Type"], body)
        self.server.keys.append(self.headers["X-Api-Key"])
        document = ANSWERS.get(self.path, {"error": "unknown_model", "detail": "no such model", "request_id": "1"})
        answer = json.dumps(document).encode()
        self.send_response(200 if self.path in ANSWERS else 404)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_gateway_that_asks_for_a_key_gets_the_stacks_own(gateway: Gateway) -> None:
    list(lines(settings.load([f"gateway.port={gateway.server_address[1]}", "gateway.api_key=marina_k"])))
    assert gateway.keys == ["marina_k", "marina_k"]


def test_requests_answers_and_every_url_are_shown(gateway: Gateway) -> None:
    port = gateway.server_address[1]
    shown = "\n".join(lines(settings.load([f"gateway.port={port}"])))

    _, unseen = load_split()
    assert gateway.asked["/models/digits/predict"] == ("image/png", png(unseen.images[DIGIT]))
    assert json.loads(gateway.asked["/models/cartpole/predict"][1]) == STATE
    assert f"answered 7, the true label is {unseen.labels[DIGIT]}" in shown
    assert '"action": 1' in shown
    for url in (f"http://127.0.0.1:{port}/docs", "http://127.0.0.1:5002", "http://127.0.0.1:8081"):
        assert url in shown


def test_a_refusal_of_the_gateway_is_passed_on(gateway: Gateway) -> None:
    composed = settings.load([f"gateway.port={gateway.server_address[1]}", "gateway.default_vision_model=weather"])
    with pytest.raises(MarinaError, match=r"404.*no such model"):
        list(lines(composed))


def test_without_a_stack_the_command_that_starts_it_is_named(gateway: Gateway, tmp_path: Path) -> None:
    del tmp_path
    port = gateway.server_address[1]
    gateway.server_close()
    with pytest.raises(MarinaError, match="start the stack with: make up"):
        list(lines(settings.load([f"gateway.port={port}"])))
