"""A running edge names the version that it serves; unreadable metrics do not count as an old version."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from edge import nginx_server
from edge.nginx_server import answering_version, check_golden_answers
from errors import EdgeError
from settings import load
from tests.figures import HUNG_UP, FiguresServer, serving


@pytest.fixture
def server() -> Iterator[FiguresServer]:
    text = '# TYPE marina_edge_info gauge\nmarina_edge_info{model="cartpole",version="1.2"} 1\n'
    with serving(text) as started:
        yield started


def answering(server: FiguresServer) -> str:
    return answering_version(load([f"edge.port={server.port}"]))


def test_edge_that_runs_names_its_version(server: FiguresServer) -> None:
    assert answering(server) == "1.2"
    assert server.asked[0]["Connection"] == "close"


def test_edge_without_a_version_or_that_is_busy_is_asked_again(server: FiguresServer) -> None:
    server.text = "# TYPE other gauge\nother 1\n"
    assert answering(server) == "no version"
    server.trouble = HUNG_UP
    assert "does not answer" in answering(server)


@pytest.mark.parametrize(("status", "text"), [(404, "x"), (403, "x"), (200, "<html>\n")])
def test_another_server_at_the_edges_port_ends_the_reload(server: FiguresServer, status: int, text: str) -> None:
    server.status, server.text = status, text
    with pytest.raises(EdgeError, match=f"{server.port}/metrics answers"):
        answering(server)


@pytest.fixture
def reloading() -> Iterator[tuple[list[bytes], Any]]:
    """An edge that answers each request with the next of the bodies, and with the last for ever; and its settings."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = bodies.pop(0) if len(bodies) > 1 else bodies[0]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield bodies, load([f"edge.port={server.server_port}"])
    finally:
        server.shutdown()
        server.server_close()


def response(version: str, action: int) -> bytes:
    return json.dumps({"model": "cartpole", "version": version, "predictions": [{"action": action}]}).encode()


def module(version: str, action: int) -> Any:
    body = base64.b64encode(b"[0,0,0,0]").decode()
    sample = {"body": body, "content_type": "application/json", "predictions": [{"action": action}]}
    golden = {"samples": [sample], "tolerance": 0.0}
    return SimpleNamespace(model="cartpole", version=version, archive=SimpleNamespace(golden=golden))


def test_golden_answer_of_an_old_worker_is_not_taken_for_the_new_version(
    reloading: tuple[list[bytes], Any],
) -> None:
    bodies, settings = reloading
    bodies += [response("1.0", 1), response("1.0", 1), response("1.1", 0)]
    check_golden_answers(module("1.1", 0), settings)
    assert len(bodies) == 1


def test_wrong_golden_answer_of_the_new_version_ends_the_reload(reloading: tuple[list[bytes], Any]) -> None:
    bodies, settings = reloading
    bodies += [response("1.0", 0), response("1.1", 1)]
    with pytest.raises(EdgeError, match="golden input 1 is answered differently"):
        check_golden_answers(module("1.1", 0), settings)


def test_edge_that_keeps_answering_with_the_old_version_ends_the_reload(
    reloading: tuple[list[bytes], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies, settings = reloading
    bodies += [response("1.0", 0)]
    monkeypatch.setattr(nginx_server, "RELOAD_TIMEOUT_S", 0.2)
    with pytest.raises(EdgeError, match=r"still answered by version 1\.0"):
        check_golden_answers(module("1.1", 0), settings)
