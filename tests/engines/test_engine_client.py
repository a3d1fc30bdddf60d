"""The client of an engine host, against a server in this process that answers as a test decides."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import engines
from engines.torchserve.engine_client import EngineClient
from errors import DiskError, EngineError
from settings import load
from settings.schema import RegistrationSettings

REFUSAL = json.dumps({"code": 400, "type": "InvalidKeyException", "message": "Token Authorization failed."})


class Server(ThreadingHTTPServer):
    """Answers every request by `answer`, which gets the path and the Authorization header."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer: Callable[[str, str | None], tuple[int, str]] = lambda path, key: (200, "{}")
        self.paths: list[str] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        status, body = self.server.answer(self.path, self.headers["Authorization"])
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Iterator[EngineClient]:
    ports = [f"engine.{name}_port={server.server_port}" for name in ("inference", "management")]
    with engines.connect(load([*ports, f"engine.key_file={tmp_path}/key_file.json"])) as made:
        yield made


def keys(path: Path, management: str) -> None:
    token = {"key": management, "expiration time": "2999-01-01T00:00:00Z"}
    path.write_text(json.dumps({"management": token, "inference": token, "API": {"key": "a"}}))


def test_client_without_keys_reads_an_open_engine(server: Server, client: EngineClient) -> None:
    server.answer = lambda path, key: (200, '{"models": [{"modelName": "b"}, {"modelName": "a"}]}')
    assert client.models() == ["a", "b"]
    server.answer = lambda path, key: (400, REFUSAL)
    with pytest.raises(EngineError, match=r"no TorchServe keys in .*; is TorchServe running\?"):
        client.models()


def test_client_remains_of_a_fetch_that_cannot_be_removed_are_one_line(client: EngineClient, tmp_path: Path) -> None:
    client.node = client.node.model_copy(update={"model_store": str(tmp_path)})
    (tmp_path / "a-1.0.mar").mkdir()
    params = RegistrationSettings(batch_size=1, max_batch_delay=0, initial_workers=1)
    with pytest.raises(DiskError, match=r"a-1\.0\.mar: .*has this name; move it away"):
        client.register("a", "http://127.0.0.1:9/a-1.0.mar", params, 1)


def test_client_refused_key_is_read_again(server: Server, client: EngineClient, tmp_path: Path) -> None:
    keys(tmp_path / "key_file.json", "old")
    server.answer = lambda path, key: (200, '{"models": []}') if key == "Bearer old" else (400, REFUSAL)
    assert client.models() == []
    keys(tmp_path / "key_file.json", "new")
    server.answer = lambda path, key: (200, '{"models": []}') if key == "Bearer new" else (400, REFUSAL)
    assert client.models() == []
    assert not any("/token" in path for path in server.paths)


def test_client_refused_after_renewal_names_the_key_file(server: Server, client: EngineClient, tmp_path: Path) -> None:
    keys(tmp_path / "key_file.json", "old")
    server.answer = lambda path, key: (400, REFUSAL)
    with pytest.raises(EngineError, match=r"TorchServe does not accept the keys in .*key_file\.json"):
        client.models()
    assert "/token?type=management" in server.paths


@pytest.mark.parametrize("environment", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_client_ignores_a_proxy_of_the_environment(
    server: Server, client: EngineClient, monkeypatch: pytest.MonkeyPatch, environment: str
) -> None:
    monkeypatch.setenv(environment, "http://127.0.0.1:1")
    server.answer = lambda path, key: (200, '{"models": []}')
    assert client.models() == []
    assert client.is_alive()


def test_client_answer_without_json_is_one_line(server: Server, client: EngineClient) -> None:
    server.answer = lambda path, key: (200, "<html>")
    with pytest.raises(EngineError, match=r"^the Management API at http://.*/models did not answer in JSON$"):
        client.models()


def test_client_card_is_none_without_a_worker_and_may_be_empty(server: Server, client: EngineClient) -> None:
    server.answer = lambda path, key: (503, '{"message": "no worker"}')
    assert client.card("m", "1.0") is None
    server.answer = lambda path, key: (200, '[{"modelName": "m", "modelVersion": "1.0"}]')
    assert client.card("m", "1.0") == {}
