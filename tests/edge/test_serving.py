"""The edge inside nginx: routes, errors, limits, slow clients, counters, and a change of version under load."""

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery.edge_update import follow
from edge.verify import ANY
from errors import EdgeError
from prometheus import parse, samples
from settings import load
from tests.edge import archives, reference
from tests.edge.archives import CARTPOLE_FIELDS as FIELDS
from tests.edge.served import JSON, NGINX_DEV, STATE, Served, prepared

pytestmark = NGINX_DEV
MODEL = "/models/cartpole/predict"
NETWORK = archives.spec([4, 16, 2])
TWO = {"type": "discrete", "n": 2, "start": 0}


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("edge")
    archives.pack(folder / "cartpole.mar", NETWORK, TWO, fields=FIELDS)
    limits = ("edge.workers=2", "edge.timeout_s=1", "edge.max_body_bytes=20000")
    made = prepared(folder, *limits)
    try:
        said = made.run("edge")
        assert "2000 random states agree" in said
        assert "cartpole 1.0 answers on" in said
        yield made
    finally:
        stopped = made.run("stack", "down")
    assert "stopped edge" in stopped


def test_both_routes_answer_as_the_gateway(edge: Served) -> None:
    folder = Path(edge.env["MARINA_ARCHIVES"])
    bodies = [STATE, b"[0,0,0.1,0.5]", b'{"instances":[[0,0,0.1,0.5],[0,0,-0.1,-0.5]]}', b"[9,0,0,0]", b"[1,", b"{}"]
    expected = reference.answers(folder / "cartpole.mar", "cartpole", [(ANY, body) for body in bodies])
    for body, wanted in zip(bodies, expected, strict=True):
        found = edge.ask("POST", MODEL, body, JSON | {"X-Request-Id": "id"})
        assert (found.status, found.body) == (wanted.status, wanted.body)
        assert found.headers["content-type"] == "application/json"
        assert found.headers["x-request-id"] == "id"
        assert found.headers["x-content-type-options"] == "nosniff"
    short = edge.ask("POST", "/predict", STATE)
    assert short.body in (b'{"action":0}', b'{"action":1}')
    assert short.headers["x-model-version"] == "1.0"
    assert edge.ask("POST", "/models/cartpole/versions/1.0/predict", STATE).status == 200


def test_request_id_missing_or_invalid_is_made(edge: Served) -> None:
    ids = {
        edge.ask("POST", MODEL, b"x", JSON | offered).json["request_id"]
        for offered in ({}, {"X-Request-Id": "ü" * 3}, {"X-Request-Id": "x" * 129})
    }
    assert len(ids) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", str(each)) for each in ids)


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "code", "detail"),
    [
        ("POST", "/models/other/predict", STATE, JSON, 404, "unknown_model", "no model other is registered"),
        (
            "POST",
            "/models/cartpole/versions/7/predict",
            STATE,
            JSON,
            404,
            "unknown_model",
            "no version 7 of model cartpole is registered",
        ),
        ("POST", "/nothing", STATE, JSON, 404, "not_found", "Not Found"),
        ("GET", MODEL, None, {}, 405, "method_not_allowed", "Method Not Allowed"),
        ("POST", MODEL, b"", JSON, 400, "unreadable_input", "the body is empty"),
        ("POST", MODEL, STATE, {"Content-Type": "text/plain"}, 415, "wrong_type", "send application/json"),
        ("POST", MODEL, STATE, {}, 415, "wrong_type", "send application/json"),
        (
            "POST",
            MODEL,
            STATE,
            JSON | {"Content-Encoding": "gzip"},
            415,
            "wrong_type",
            "compressed bodies are not read; send the body without Content-Encoding",
        ),
        (
            "POST",
            MODEL,
            STATE,
            JSON | {"X-Deadline-Ms": "soon"},
            400,
            "unreadable_input",
            "X-Deadline-Ms must be a whole number of milliseconds",
        ),
        (
            "POST",
            MODEL,
            b" " * 20001,
            JSON,
            413,
            "too_large",
            "the body is larger than the 20000 bytes that are accepted",
        ),
        ("GET", "/" + "x" * 9000, None, {}, 414, "uri_too_long", "URI Too Long"),
        (
            "GET",
            "/healthz",
            None,
            {"X-Long": "x" * 40000},
            400,
            "unreadable_input",
            "the request is not HTTP that is read here",
        ),
    ],
)
def test_errors_have_one_shape(
    edge: Served,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
    status: int,
    code: str,
    detail: str,
) -> None:
    found = edge.ask(method, path, body, headers)
    assert found.status == status, found.body
    assert found.json == {"error": code, "detail": detail, "request_id": found.headers["x-request-id"]}


def test_chunked_body_is_read_and_limited(edge: Served) -> None:
    names = ("Host: x", "Content-Type: application/json", "Transfer-Encoding: chunked", "Connection: close")
    head = "\r\n".join((f"POST {MODEL} HTTP/1.1", *names, "", "")).encode()
    parts = [STATE[at : at + 5] for at in range(0, len(STATE), 5)]
    assert (
        b" 200 " in edge.raw(head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n")[:20]
    )
    assert b" 413 " in edge.raw(head + b"7000\r\n" + b" " * 0x7000 + b"\r\n0\r\n\r\n")[:20]


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_bytes_that_are_not_http_are_refused_in_json(edge: Served, sent: bytes) -> None:
    found = edge.raw(sent)
    assert re.search(rb" (400|404|505) ", found[:20]), found
    assert set(json.loads(found.partition(b"\r\n\r\n")[2] or found)) == {"error", "detail", "request_id"}


def test_slow_client_is_disconnected(edge: Served) -> None:
    head = f"POST {MODEL} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n".encode()
    for part in (head[:30], head, head + b"{"):
        assert b"200 OK" not in edge.raw(part)
    assert edge.ask("GET", "/healthz").body == b'{"status":"alive"}'


def test_counters_cover_all_workers(edge: Served) -> None:
    before = edge.count("/predict", 200)
    for _ in range(40):
        assert edge.ask("POST", "/predict", STATE).status == 200
    assert edge.count("/predict", 200) == before + 40
    text = edge.ask("GET", "/metrics").body.decode()
    assert any(samples(parse(text).gauges, "marina_edge_info", model="cartpole"))
    buckets = [
        int(value)
        for value in re.findall(r'request_seconds_bucket\{model="cartpole",route="/predict",le="[^"]+"\} (\d+)', text)
    ]
    assert buckets == sorted(buckets)
    assert f'request_seconds_count{{model="cartpole",route="/predict"}} {buckets[-1]}\n' in text


def test_status_lists_the_edge_and_no_access_log_is_written(edge: Served) -> None:
    said = edge.run("stack", "status", status=1)
    assert re.search(rf"edge +ready +pid \d+ +http://127.0.0.1:{edge.port}/", said)
    assert not (Path(edge.env["MARINA_STATE"]) / "edge" / "access.log").exists()


def test_new_version_under_load_loses_no_request(edge: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MARINA_STATE", "MARINA_ARCHIVES", "MARINA_EDGE_PORT"):
        monkeypatch.setenv(name, edge.env[name])
    settings = load(["served_model=cartpole", *edge.options])
    folder = Path(edge.env["MARINA_ARCHIVES"])
    counted = edge.count("/models/{model}/predict", 200)
    stop, lost, seen = threading.Event(), list[str](), list[str]()
    threads = [threading.Thread(target=_load, args=(edge, stop, lost, seen, number)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for version in ("1.1",):
            published = archives.pack(
                folder / f"cartpole-{version}.mar", NETWORK, TWO, fields=FIELDS, version=version, seed=1
            )
            follow("cartpole", version, published, settings)
    finally:
        time.sleep(2.5)  # the old workers must lose nothing while they drain
        stop.set()
        for thread in threads:
            thread.join()
    assert lost == []
    assert set(seen) == {"1.0", "1.1"}
    assert edge.ask("POST", MODEL, STATE).json["version"] == "1.1"
    assert edge.count("/models/{model}/predict", 200) >= counted + len(seen)
    follow("digits", "1.0", folder / "missing.mar", settings)  # the edge serves another model


def test_version_that_cannot_be_compiled_leaves_the_edge_unchanged(
    edge: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MARINA_STATE", "MARINA_ARCHIVES", "MARINA_EDGE_PORT"):
        monkeypatch.setenv(name, edge.env[name])
    settings = load(["served_model=cartpole", *edge.options])
    folder = Path(edge.env["MARINA_ARCHIVES"])
    before = edge.ask("POST", MODEL, STATE)
    bad = archives.pack(
        folder / "cartpole-9.mar", NETWORK, TWO, fields=FIELDS, version="9", card={"network": {"type": "cnn"}}
    )
    with pytest.raises(
        EdgeError,
        match=r"still answers with cartpole .*, not 9: cartpole cannot be compiled: its network is of type cnn",
    ):
        follow("cartpole", "9", bad, settings)
    assert edge.ask("POST", MODEL, STATE).body == before.body


def _load(edge: Served, stop: threading.Event, lost: list[str], seen: list[str], number: int) -> None:
    """Send requests on one connection for as long as the edge keeps it, without a retry."""
    connection = edge.connect()
    while not stop.wait(0.002):  # steady rather than flat out: what builds the next version needs the cores as well
        try:
            connection.request("POST", MODEL, STATE, JSON)
            response = connection.getresponse()
            answer = json.loads(response.read())
            seen.append(answer["version"])
        except (OSError, ValueError, KeyError) as error:
            lost.append(f"{number}: {error!r}")
            connection.close()
    connection.close()
