"""Bad requests: each gets its own status, one JSON shape, and the next good request is answered."""

import gzip
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from gateway.examples import PICTURE, PICTURE_BASE64
from tests.gateway.engine import Engine
from tests.gateway.served import gateway_for

LIMIT = 4096
DIGITS, CARTPOLE = "/models/digits/predict", "/models/cartpole/predict"
JSON = {"Content-Type": "application/json"}
PNG = {"Content-Type": "image/png"}
FORM = {"Content-Type": "multipart/form-data; boundary=b"}
FILE = b'--b\r\nContent-Disposition: form-data; name="image"; filename="p.png"\r\n\r\n'


def form(*parts: bytes, end: bytes = b"--b--\r\n") -> bytes:
    return b"".join(part + b"\r\n" for part in parts) + end


REFUSED: dict[str, tuple[str, dict[str, str], bytes, int, str]] = {
    "empty body": (DIGITS, PNG, b"", 400, "unreadable_input"),
    "handler refuses": (DIGITS, PNG, b"bad", 400, "unreadable_input"),
    "broken json": (CARTPOLE, JSON, b'{"cart_position": ', 400, "unreadable_input"),
    "json with nan": (CARTPOLE, JSON, b"[NaN]", 400, "unreadable_input"),
    "deep json": (CARTPOLE, JSON, b"[" * 2000 + b"]" * 2000, 400, "unreadable_input"),
    "json not utf-8": (CARTPOLE, JSON, b'{"caf\xe9": 1}', 400, "unreadable_input"),
    "broken picture json": (DIGITS, JSON, b"{", 400, "unreadable_input"),
    "broken base64": (DIGITS, JSON, b'{"image": "%%%"}', 400, "unreadable_input"),
    "empty base64": (DIGITS, JSON, b'{"image": ""}', 400, "unreadable_input"),
    "text data url": (DIGITS, JSON, b'{"image": "data:image/png,hello"}', 400, "unreadable_input"),
    "no boundary": (DIGITS, {"Content-Type": "multipart/form-data"}, form(FILE + PICTURE), 400, "unreadable_input"),
    "not a form": (DIGITS, FORM, b"hello", 400, "unreadable_input"),
    "truncated form": (DIGITS, FORM, form(FILE + PICTURE, end=b""), 400, "unreadable_input"),
    "truncated part head": (DIGITS, FORM, FILE[:30], 400, "unreadable_input"),
    "empty file": (DIGITS, FORM, form(FILE), 400, "unreadable_input"),
    "too many parts": (DIGITS, FORM, form(*[b"--b\r\nA: b\r\n\r\n"] * 257), 400, "unreadable_input"),
    "long boundary": (
        DIGITS,
        {"Content-Type": "multipart/form-data; boundary=" + "b" * 400},
        b"x",
        400,
        "unreadable_input",
    ),
    "unknown model": ("/models/nobody/predict", PNG, PICTURE, 404, "unknown_model"),
    "odd model name": ("/models/%00..%2e/predict", PNG, PICTURE, 404, "unknown_model"),
    "unknown version": ("/models/digits/versions/9.9/predict", PNG, PICTURE, 404, "unknown_model"),
    "no such route": ("/nowhere", PNG, PICTURE, 404, "not_found"),
    "announced too large": (DIGITS, PNG, bytes(LIMIT + 1), 413, "too_large"),
    "form too large": (DIGITS, FORM, form(FILE + bytes(LIMIT)), 413, "too_large"),
    "compressed": (DIGITS, {**PNG, "Content-Encoding": "gzip"}, gzip.compress(PICTURE), 415, "wrong_type"),
    "text": (DIGITS, {"Content-Type": "text/plain"}, PICTURE_BASE64.encode(), 415, "wrong_type"),
    "web form": (DIGITS, {"Content-Type": "application/x-www-form-urlencoded"}, b"a=b", 415, "wrong_type"),
    "picture to a policy": (CARTPOLE, PNG, PICTURE, 415, "wrong_type"),
    "form to a policy": (CARTPOLE, FORM, form(FILE + PICTURE), 415, "wrong_type"),
    "raw to classify": ("/classify", PNG, PICTURE, 415, "wrong_type"),
    "json to predict_proba": ("/predict_proba", JSON, b"{}", 415, "wrong_type"),
    "picture to predict": ("/predict", PNG, PICTURE, 415, "wrong_type"),
    "picture to predict/": ("/predict/", PNG, PICTURE, 415, "wrong_type"),
    "state to a picture model": (DIGITS, JSON, b'{"cart_position": 1}', 422, "invalid_fields"),
    "array to a picture model": (DIGITS, JSON, b"[1, 2]", 422, "invalid_fields"),
    "number as picture": (DIGITS, JSON, b'{"image": 7}', 422, "invalid_fields"),
    "instances not a list": (DIGITS, JSON, b'{"instances": 7}', 422, "invalid_fields"),
    "unknown field": (DIGITS, JSON, b'{"image": "aGk=", "size": 3}', 422, "invalid_fields"),
    "number as state": (CARTPOLE, JSON, b"7", 422, "invalid_fields"),
    "no file": (DIGITS, FORM, form(b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1'), 422, "invalid_fields"),
    "two files": ("/classify", FORM, form(FILE + PICTURE, FILE + PICTURE), 422, "invalid_fields"),
    "wrong field": (
        "/predict_proba",
        FORM,
        form(FILE.replace(b'"image"', b'"picture"') + PICTURE),
        422,
        "invalid_fields",
    ),
    "no image field": ("/predict/", JSON, b'{"picture": "aGk="}', 422, "invalid_fields"),
    "several states": ("/predict", JSON, b'{"instances": [[1, 2, 3, 4]]}', 422, "invalid_fields"),
    "array to predict": ("/predict", JSON, b"[1, 2, 3, 4]", 422, "invalid_fields"),
    "no worker": ("/models/idle/predict", PNG, PICTURE, 503, "no_worker"),
    "bad deadline": (DIGITS, {**PNG, "X-Deadline-Ms": "soon"}, PICTURE, 400, "unreadable_input"),
    "negative deadline": (DIGITS, {**PNG, "X-Deadline-Ms": "-1"}, PICTURE, 400, "unreadable_input"),
    "deadline of zero": (DIGITS, {**PNG, "X-Deadline-Ms": "0"}, PICTURE, 504, "deadline_passed"),
}


@pytest.fixture(scope="module")
def small(engine: Engine) -> Iterator[str]:
    """A gateway that accepts small bodies only."""
    with gateway_for(engine, f"gateway.max_body_bytes={LIMIT}") as url:
        yield url


def check_problem(answer: requests.Response, status: int, code: str) -> None:
    content = answer.json()
    assert (answer.status_code, content["error"]) == (status, code), answer.text
    assert set(content) == {"error", "detail", "request_id"}
    assert content["detail"]
    assert content["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(("path", "headers", "body", "status", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_request_gets_its_status_and_the_next_good_one_is_answered(
    small: str, path: str, headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    with requests.Session() as session:
        check_problem(session.post(small + path, data=body, headers=headers, timeout=30), status, code)
        assert session.post(small + DIGITS, data=PICTURE, headers=PNG, timeout=30).status_code == 200


@pytest.mark.parametrize("path", [DIGITS, "/predict", "/classify"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_another_method_than_post_is_refused_by_name(gateway: str, method: str, path: str) -> None:
    answer = requests.request(method, gateway + path, timeout=30)
    check_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


def test_a_streamed_body_is_cut_off_at_the_limit(small: str) -> None:
    answer = requests.post(small + DIGITS, data=iter([bytes(LIMIT), b"1"]), headers=PNG, timeout=30)
    check_problem(answer, 413, "too_large")


def test_a_large_body_is_refused_before_it_is_sent(small: str) -> None:
    """The client waits for leave to send, as curl does, and is told 413 instead."""
    address = urlsplit(small)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as connection:
        head = (
            f"POST {DIGITS} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {LIMIT + 1}\r\nExpect: 100-continue\r\n\r\n"
        )
        connection.sendall(head.encode())
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 413
        assert json.loads(response.read())["error"] == "too_large"


def test_a_body_that_never_ends_is_given_up_at_the_deadline(gateway: str) -> None:
    address = urlsplit(gateway)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as connection:
        head = f"POST {DIGITS} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\nX-Deadline-Ms: 200\r\n\r\nhalf"
        connection.sendall(head.encode())
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 504


def test_a_handler_that_raises_is_an_internal_error_without_its_words(gateway: str) -> None:
    answer = requests.post(f"{gateway}/models/fragile/predict", data=b"raise", headers=PNG, timeout=30)
    check_problem(answer, 500, "internal")
    assert "asked for it" not in answer.text


def test_details_of_the_request_are_not_repeated_in_full(gateway: str) -> None:
    answer: Any = requests.post(f"{gateway}/models/{'x' * 3000}/predict", data=PICTURE, timeout=30)
    check_problem(answer, 404, "unknown_model")
    assert len(answer.content) < 500
