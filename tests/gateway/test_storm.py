"""A model without a free place: what its clients are told, and what those get who do not listen."""

import select
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from gateway.apikey import new_key
from gateway.examples import PICTURE
from gateway.http.backoff import QUICK_REFUSALS
from tests.gateway.engine import Engine, hold
from tests.gateway.test_app import program
from tests.gateway.test_fast_path import connect, read
from tests.gateway.test_faults import metric
from tests.polling import wait_for

FRAGILE, INFER = "/models/fragile/predict", "/v2/models/fragile/infer"
SOON_S = 0.3


def head(path: str, length: int, *more: str) -> bytes:
    octets = "Content-Type: application/octet-stream"
    lines = (f"POST {path} HTTP/1.1", "Host: 127.0.0.1", octets, f"Content-Length: {length}", *more)
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@contextmanager
def full(engine: Engine, log: Path, *overrides: str, key: str = "") -> Iterator[tuple[str, Any]]:
    """A gateway whose model `fragile` has its only place taken until the end of the block."""
    headers = {"X-Api-Key": key} if key else {}
    with program(engine, log, "gateway.admission.max_places=1", *overrides) as (url, process):

        def status(body: bytes) -> int:
            return requests.post(url + FRAGILE, data=body, headers=headers, timeout=120).status_code

        def occupy(body: bytes) -> None:
            while status(body) == 429:  # the place was taken by the look below
                pass

        assert status(b"x") == 200
        with ThreadPoolExecutor(1) as pool, hold(log.parent) as body:
            pool.submit(occupy, body)
            wait_for(lambda: status(b"x") == 429)
            yield url, process


@pytest.mark.parametrize("path", [FRAGILE, INFER])
def test_refusal_comes_from_the_head_alone_and_is_the_applications_own(
    engine: Engine, tmp_path: Path, path: str
) -> None:
    told = []
    for overrides in ((), ("gateway.access_log=true",)):  # each request leaves a line: the application refuses
        with full(engine, tmp_path / "log", *overrides) as (url, _), connect(url) as connection:
            connection.sendall(head(path, 5000, "X-Request-Id: same"))
            told.append(read(connection))
            assert int(told[-1][1].pop("retry-after")) >= 1  # no two clients are told the same
            connection.sendall(bytes(5000) + head("/models/digits/predict", len(PICTURE)) + PICTURE)
            assert read(connection)[0] == 200  # the body that was not read is no request
    assert told[0] == told[1]
    assert told[0][0] == 429


def test_refusals_are_counted_as_the_application_counts_them(engine: Engine, tmp_path: Path) -> None:
    with full(engine, tmp_path / "log") as (url, _):
        before = metric(url, "marina_gateway_shed_total", model="fragile")
        known = {"model": "fragile", "route": "/models/{model}/predict", "status": "429"}
        counted = metric(url, "marina_gateway_request_seconds_count", **known)
        with connect(url) as connection:
            connection.sendall(head(FRAGILE, 1) + b"x")
            assert read(connection)[0] == 429
        assert metric(url, "marina_gateway_shed_total", model="fragile") >= before + 1
        assert metric(url, "marina_gateway_request_seconds_count", **known) >= counted + 1


def test_full_model_bad_requests_are_told_what_is_wrong_with_them(engine: Engine, tmp_path: Path) -> None:
    key, entry = new_key()
    limits = (f"gateway.security.api_keys=[{{name: tests, sha256: {entry}}}]",)
    with full(engine, tmp_path / "log", *limits, key=key) as (url, _):
        mine = f"X-Api-Key: {key}"
        wanted = {
            (5, mine): 429,
            (5, "X-Api-Key: wrong"): 401,
            (5, f"{mine}\r\nX-Deadline-Ms: soon"): 400,
        }
        for (length, line), status in wanted.items():
            with connect(url) as connection:
                connection.sendall(head(FRAGILE, length, line) + bytes(length))
                assert read(connection)[0] == status, line


def early(connection: socket.socket, times: int, *lines: str) -> None:
    """Ask again at once, so often."""
    for _ in range(times):
        connection.sendall(head(FRAGILE, 1, *lines) + b"x")
        assert read(connection)[0] == 429


def has_answer(connection: socket.socket, within_s: float) -> bool:
    return bool(select.select([connection], [], [], within_s)[0])


def test_connection_that_returns_early_again_and_again_is_read_later(engine: Engine, tmp_path: Path) -> None:
    with full(engine, tmp_path / "log") as (url, _), connect(url) as stubborn, connect(url) as other:
        early(stubborn, QUICK_REFUSALS)
        stubborn.sendall(head(FRAGILE, 1) + b"x")
        early(other, 1)
        assert not has_answer(stubborn, SOON_S)
        assert read(stubborn)[0] in (200, 429)
        assert answer_of_another_model(stubborn) == 200


def answer_of_another_model(connection: socket.socket) -> int:
    connection.sendall(head("/models/digits/predict", len(PICTURE)) + PICTURE)
    return read(connection)[0]


def test_connection_that_returns_early_another_model_is_answered_at_once(engine: Engine, tmp_path: Path) -> None:
    with full(engine, tmp_path / "log") as (url, _), connect(url) as stubborn:
        early(stubborn, QUICK_REFUSALS)
        assert answer_of_another_model(stubborn) == 200


def test_connection_of_a_proxy_is_never_read_later(engine: Engine, tmp_path: Path) -> None:
    with full(engine, tmp_path / "log") as (url, _), connect(url) as proxy:
        early(proxy, 3 * QUICK_REFUSALS, "X-Forwarded-For: 10.0.0.1")


def test_connection_that_waits_client_leaves_and_the_gateway_goes_on(engine: Engine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with full(engine, log) as (url, _):
        with connect(url) as stubborn:
            early(stubborn, QUICK_REFUSALS)
            stubborn.sendall(head(FRAGILE, 1) + b"x")
        with connect(url) as other:
            early(other, QUICK_REFUSALS)
    assert "Traceback" not in log.read_text()


def test_connection_that_waits_is_answered_when_the_gateway_stops(engine: Engine, tmp_path: Path) -> None:
    with full(engine, tmp_path / "log", "gateway.stop_notice_ms=0") as (url, process), connect(url) as stubborn:
        early(stubborn, QUICK_REFUSALS)
        stubborn.sendall(head(FRAGILE, 1) + b"x")
        assert not has_answer(stubborn, SOON_S)
        process.terminate()
        assert read(stubborn)[0] in (200, 429, 503)
