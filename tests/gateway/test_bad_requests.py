"""Five hundred generated bad requests: each gets a documented status in the one shape, and a good one is answered."""

import http.client
import json
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
import requests

from gateway.examples import PICTURE, PICTURE_BASE64
from tests.gateway.engine import Engine
from tests.gateway.served import gateway_for

COUNT, SEED = 500, 20
LIMIT, HEAD_LIMIT = 8192, 4096
DIGITS, CARTPOLE = "/models/digits/predict", "/models/cartpole/predict"
STATE = b'{"cart_position":0,"cart_velocity":0,"pole_angle":0.1,"pole_angular_velocity":0}'


@dataclass(frozen=True)
class Bad:
    """Bytes to send, the statuses that may answer them, and whether the client stops sending half-way."""

    kind: str
    sent: bytes
    statuses: tuple[int, ...]


def head(path: str, *lines: str, length: int | None = 0, method: str = "POST", version: str = "1.1") -> bytes:
    all_lines = [f"{method} {path} HTTP/{version}", "Host: 127.0.0.1", *lines]
    if length is not None:
        all_lines.append(f"Content-Length: {length}")
    return "\r\n".join(all_lines).encode("latin-1") + b"\r\n\r\n"


def posted(path: str, media_type: str, body: bytes, *lines: str) -> bytes:
    return head(path, f"Content-Type: {media_type}", *lines, length=len(body)) + body


def bad_requests(draw: random.Random) -> Iterator[Bad]:
    makers = [
        cut_json, odd_state, noise_as_json, broken_form, wrong_type, compressed, too_large, long_head, no_http,
        odd_deadline, unknown_place, wrong_method, broken_base64, huge_picture, slow_body, chunked_badly,
    ]  # fmt: skip
    for number in range(COUNT):
        yield makers[number % len(makers)](draw)


def cut_json(draw: random.Random) -> Bad:
    return Bad("cut json", posted(CARTPOLE, "application/json", STATE[: draw.randrange(1, len(STATE))]), (400,))


def odd_state(draw: random.Random) -> Bad:
    value = draw.choice(["true", "null", '"1"', "[1]", "{}", "1e400", "99", "-99"])
    name = draw.choice(["cart_position", "cart_pos", "caf\\u00e9"])
    body = f'{{"{name}":{value},"cart_velocity":0,"pole_angle":0,"pole_angular_velocity":0}}'.encode()
    # The echo behind this gateway takes what is well-formed; what the gateway itself can judge it refuses.
    return Bad("odd state", posted("/predict", "application/json", b"[" + body + b"]"), (400, 422))


def noise_as_json(draw: random.Random) -> Bad:
    body = b"\xff" + draw.randbytes(draw.randrange(1, 200))
    return Bad("noise", posted(CARTPOLE, "application/json", body), (400,))


def broken_form(draw: random.Random) -> Bad:
    whole = b'--b\r\nContent-Disposition: form-data; name="image"; filename="p"\r\n\r\n' + PICTURE + b"\r\n--b--\r\n"
    body = whole[: draw.randrange(1, len(whole) - 4)]
    return Bad("broken form", posted("/classify", "multipart/form-data; boundary=b", body), (400, 422))


def wrong_type(draw: random.Random) -> Bad:
    media_type = draw.choice(["text/plain", "audio/wav", "application/xml", "x", ";;;", "image/png/x", "multipart/x"])
    return Bad("wrong type", posted(CARTPOLE, media_type, STATE), (415,))


def compressed(draw: random.Random) -> Bad:
    encoding = draw.choice(["gzip", "br", "deflate", "x-unknown", "gzip, identity"])
    return Bad("compressed", posted(DIGITS, "image/png", draw.randbytes(50), f"Content-Encoding: {encoding}"), (415,))


def too_large(draw: random.Random) -> Bad:
    return Bad("too large", posted(DIGITS, "image/png", bytes(LIMIT + draw.randrange(1, LIMIT))), (413,))


def long_head(draw: random.Random) -> Bad:
    size = HEAD_LIMIT + draw.randrange(1, HEAD_LIMIT)
    lines = [f"X-A: {'a' * size}"] if draw.random() < 0.5 else [f"X-{n}: b" for n in range(size // 4)]
    if draw.random() < 0.2:
        return Bad("long path", head("/" + "p" * size), (431,))
    return Bad("long head", head(DIGITS, *lines), (431,))


def no_http(draw: random.Random) -> Bad:
    text = draw.choice([b"hello\r\n\r\n", b"GET\r\n\r\n", b"POST /predict HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00"])
    return Bad("no http", text + draw.randbytes(20) + b"\r\n\r\n", (400,))


def odd_deadline(draw: random.Random) -> Bad:
    value = draw.choice(["soon", "-1", "1.5", "", "0x10", "1e3", "+5", "²"])
    return Bad("odd deadline", posted(CARTPOLE, "application/json", STATE, f"X-Deadline-Ms: {value}"), (400,))


def unknown_place(draw: random.Random) -> Bad:
    name = "".join(draw.choice("abc%2f.~-") for _ in range(draw.randrange(1, 30)))
    path = draw.choice([f"/{name}", f"/models/digits/versions/{name}/predict"])
    return Bad("unknown place", posted(path, "image/png", PICTURE), (404, 400))


def wrong_method(draw: random.Random) -> Bad:
    method = draw.choice(["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
    return Bad("wrong method", head(draw.choice([DIGITS, "/predict", "/classify"]), method=method), (405,))


def broken_base64(draw: random.Random) -> Bad:
    text = PICTURE_BASE64[: draw.randrange(4, 40)] + draw.choice("%$!*")
    return Bad("broken base64", posted("/predict/", "application/json", json.dumps({"image": text}).encode()), (400,))


def huge_picture(draw: random.Random) -> Bad:
    side = draw.randrange(20_000, 2**31)
    picture = PICTURE[:16] + side.to_bytes(4, "big") + side.to_bytes(4, "big") + PICTURE[24:]
    return Bad("huge picture", posted(DIGITS, "image/png", picture), (413,))


def slow_body(draw: random.Random) -> Bad:
    lines = ("Content-Type: image/png", "X-Deadline-Ms: 50")
    body = PICTURE[: draw.randrange(len(PICTURE) - 1)]
    return Bad("slow body", head(DIGITS, *lines, length=len(PICTURE)) + body, (504,))


def chunked_badly(draw: random.Random) -> Bad:
    size = draw.choice([b"zz", b"-1", b"", b"fffffffffffffffffff"])
    chunk = size + b"\r\nabc\r\n0\r\n\r\n"
    return Bad("bad chunk", head(DIGITS, "Transfer-Encoding: chunked", length=None) + chunk, (400,))


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as connection:
        yield connection


@pytest.fixture(scope="module")
def strict(engine: Engine) -> Iterator[str]:
    limits = (f"gateway.max_body_bytes={LIMIT}", f"gateway.security.max_header_bytes={HEAD_LIMIT}")
    with gateway_for(engine, *limits, "gateway.security.head_timeout_s=0.3") as url:
        yield url


def test_each_bad_request_gets_its_status_and_the_next_good_one_its_answer(strict: str) -> None:
    good = {"data": STATE, "headers": {"Content-Type": "application/json"}, "timeout": 30}
    tried = 0
    with requests.Session() as session:
        for bad in bad_requests(random.Random(SEED)):
            with connected(strict) as connection:
                connection.sendall(bad.sent)
                response = http.client.HTTPResponse(connection, method="POST")
                try:
                    response.begin()
                except OSError as error:
                    pytest.fail(f"{bad.kind}: {error!r} after {bad.sent[:300]!r}")
                content = json.loads(response.read())
                response.close()
            assert response.status in bad.statuses, (bad.kind, bad.sent[:300], content)
            assert set(content) == {"error", "detail", "request_id"}, bad.kind
            assert session.post(strict + CARTPOLE, **good).status_code == 200, bad.kind  # type: ignore[arg-type]
            tried += 1
    assert tried == COUNT


def test_a_client_that_never_finishes_its_head_is_told_and_cut_off(strict: str) -> None:
    for sent in (b"", b"POST /predict HT", b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"):
        with connected(strict) as connection:
            connection.sendall(sent)
            response = http.client.HTTPResponse(connection)
            response.begin()
            assert (response.status, json.loads(response.read())["error"]) == (408, "request_timeout")
            assert connection.recv(1) == b""
            response.close()


def test_requests_on_one_connection_are_answered_in_order(strict: str) -> None:
    with connected(strict) as connection:
        connection.sendall(posted(CARTPOLE, "application/json", STATE) + posted("/predict", "text/plain", b"x"))
        text = b""
        while text.count(b"HTTP/1.1") < 2 or not text.endswith(b"}"):
            text += connection.recv(4096)
    assert text.index(b"HTTP/1.1 200") < text.index(b"HTTP/1.1 415")
