"""States that are answered on the connection itself: nobody can tell, but for the time."""

import http.client
import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from gateway.hooks import Business, PredictionRequest
from tests.gateway.engine import FIELDS, POLICY, Engine
from tests.gateway.served import gateway_for
from tests.gateway.test_faults import metric
from tests.polling import wait_for

STATE = dict(zip(FIELDS, [0.0, 0.0, 0.1, 0.5], strict=True))
PATHS = ("/predict", "/models/cartpole/predict", "/models/cartpole/versions/1.0/predict")


def raw(path: str, body: bytes, *lines: str) -> bytes:
    head = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *lines,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def connect(gateway: str) -> socket.socket:
    address = urlsplit(gateway)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=30)


def read(connection: socket.socket) -> tuple[int, dict[str, str], Any]:
    response = http.client.HTTPResponse(connection, method="POST")
    response.begin()
    content = json.loads(response.read())
    headers = {name.lower(): value for name, value in response.getheaders() if name.lower() != "date"}
    response.close()
    return response.status, headers, content


@pytest.mark.parametrize("path", PATHS)
def test_fast_path_response_equals_the_applications(gateway: str, path: str) -> None:
    found = []
    for way in ((), ("X-Deadline-Ms: 30000",)):  # a deadline of its own goes the ordinary way
        with connect(gateway) as connection:
            connection.sendall(raw(path, json.dumps(STATE).encode(), "X-Request-Id: same", *way))
            found.append(read(connection))
    assert found[0] == found[1]
    assert found[0][0] == 200


def test_fast_path_pipelined_states_are_answered_in_order(gateway: str) -> None:
    bodies = [json.dumps(STATE).encode(), b"[]", json.dumps({**STATE, "pole_angle": 0.2}).encode(), b"{"]
    with connect(gateway) as connection:
        connection.sendall(b"".join(raw("/predict", b, f"X-Request-Id: {n}") for n, b in enumerate(bodies)))
        text = b""
        while text.count(b"x-request-id: ") < 4 or not text.endswith(b"}"):
            text += connection.recv(65536)
    numbers = [int(part[:1]) for part in text.split(b"x-request-id: ")[1:]]
    statuses = [int(part[:3]) for part in text.split(b"HTTP/1.1 ")[1:]]
    assert (numbers, statuses) == ([0, 1, 2, 3], [200, 422, 200, 400])


def test_fast_path_body_in_pieces_is_answered(gateway: str) -> None:
    whole = raw("/predict", json.dumps(STATE).encode())
    for cut in (10, len(whole) - 80, len(whole) - 1):
        with connect(gateway) as connection:
            connection.sendall(whole[:cut])
            time.sleep(0.05)  # no wait for anything: the pieces must not arrive together
            connection.sendall(whole[cut:])
            assert read(connection)[0] == 200


def test_a_body_that_never_ends_is_given_up_at_the_deadline(engine: Engine) -> None:
    with gateway_for(engine, "gateway.deadline_ms=200") as gateway, connect(gateway) as connection:
        connection.sendall(raw("/predict", json.dumps(STATE).encode())[:-1])
        assert read(connection)[0] == 504


def test_fast_path_http_1_0_and_connection_close_are_closed(gateway: str) -> None:
    whole = raw("/predict", json.dumps(STATE).encode(), "Connection: close")
    for sent in (whole, whole.replace(b"HTTP/1.1", b"HTTP/1.0")):
        with connect(gateway) as connection:
            connection.sendall(sent)
            status, headers, _ = read(connection)
            assert (status, headers["connection"]) == (200, "close")
            assert connection.recv(1) == b""


def test_fast_path_leaves_models_with_business_logic(engine: Engine) -> None:
    async def to_the_right(request: PredictionRequest) -> PredictionRequest:
        raise ZeroDivisionError

    with gateway_for(engine, business=Business(before={"cartpole": to_the_right})) as gateway:
        for path in PATHS:
            assert requests.post(gateway + path, json=STATE, timeout=30).status_code == 500


def test_fast_path_deadline_and_disconnect_free_the_slot(engine: Engine) -> None:
    space = {"type": "box", "shape": [1], "dtype": "float32", "low": None, "high": None}
    card = {**POLICY, "observation": {"fields": ["s"], "space": space, "out_of_range": "reject"}}
    path = "/models/sleeper/predict"
    with engine.serving("sleeper", card):
        with gateway_for(engine, "gateway.deadline_ms=200") as gateway:
            wait_for(lambda: requests.get(f"{gateway}/models/sleeper", timeout=30).status_code == 200)
            answer = requests.post(gateway + path, json={"s": 86.0}, timeout=30)
            assert (answer.status_code, answer.json()["error"]) == (504, "deadline_passed")
        with gateway_for(engine) as gateway:
            with connect(gateway) as connection:
                connection.sendall(raw(path, b'{"s": 87.0}'))
                wait_for(lambda: metric(gateway, "marina_gateway_requests_admitted", model="sleeper") == 1)
            wait_for(lambda: metric(gateway, "marina_gateway_requests_admitted", model="sleeper") == 0)
            assert metric(gateway, "marina_gateway_request_seconds_count", status="499", model="sleeper") == 1
