"""One connection, byte by byte: where a request ends, who gets an answer, and how the connection ends."""

import time

import pytest

from tests.gateway.given import GivenTorchServe
from tests.gateway.raw import (
    CARTPOLE,
    DIGITS,
    HEALTH,
    HELD_STATE,
    JSON,
    PNG,
    STATE,
    connected,
    exchange,
    request,
    statuses,
)
from tests.gateway.served import gateway_for
from tests.gateway.test_faults import metric
from tests.polling import wait_for

UPGRADES = {
    "h2c": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAA"),
    "websocket": ("Connection: Upgrade", "Upgrade: websocket"),
    "anything": ("Upgrade: tls/1.0, foo", "Connection: keep-alive, upgrade"),
}
PREDICTION = request(CARTPOLE, JSON, body=STATE)
BIG = 20 << 20  # more than a body may have


def apart() -> None:
    """Lets what was sent arrive by itself: not a wait for anything, the pieces must not come together."""
    time.sleep(0.05)


@pytest.mark.parametrize("upgrade", UPGRADES.values(), ids=UPGRADES.keys())
def test_connection_upgrade_is_ignored_and_body_read(front: str, upgrade: tuple[str, ...]) -> None:
    whole = request(CARTPOLE, *upgrade, JSON, body=STATE)
    for cut in (len(whole), len(whole) - len(STATE), len(whole) - 3, 30):
        with connected(front) as connection:
            connection.send(whole[:cut])
            apart()
            connection.send(whole[cut:] + HEALTH)
            assert connection.read().json()["predictions"] == [{"action": 1}]
            assert connection.read().json() == {"status": "alive"}


def test_connection_body_behind_upgrade_is_no_request(front: str) -> None:
    with connected(front) as connection:
        connection.send(request(CARTPOLE, *UPGRADES["h2c"], JSON, f"Content-Length: {len(PREDICTION)}"))
        apart()
        connection.send(PREDICTION)
        assert connection.read().status == 400
        connection.send(HEALTH)
        assert connection.read().json() == {"status": "alive"}


def test_connection_chunked_body_behind_upgrade_is_read(front: str) -> None:
    head = request(CARTPOLE, *UPGRADES["h2c"], JSON, "Transfer-Encoding: chunked", "Connection: close, upgrade")
    with connected(front) as connection:
        connection.send(head)
        apart()
        connection.send(b"d\r\n" + STATE + b"\r\n0\r\n\r\n")
        assert statuses(connection.rest()) == [200]


def test_connection_thousand_upgrades_in_one_packet(front: str) -> None:
    one = request("/healthz", *UPGRADES["websocket"], method="GET")
    with connected(front) as connection:
        connection.send(one * 1000)
        for _ in range(1000):
            assert connection.read().status == 200


CHUNK = b"d\r\n" + STATE + b"\r\n0\r\n\r\n"
DOUBTFUL: dict[str, tuple[bytes, int]] = {
    "connect": (request("example.org:443", method="CONNECT") + HEALTH, 405),
    "length and chunks": (request(CARTPOLE, JSON, "Content-Length: 13", "Transfer-Encoding: chunked") + CHUNK, 400),
    "chunks and length": (request(CARTPOLE, JSON, "Transfer-Encoding: chunked", "Content-Length: 13") + CHUNK, 400),
    "two lengths": (request(CARTPOLE, JSON, "Content-Length: 0", body=STATE), 400),
    "one length twice": (request(CARTPOLE, JSON, "Content-Length: 13", body=STATE), 400),
    "a list of lengths": (request(CARTPOLE, JSON, "Content-Length: 13, 13") + STATE, 400),
    "a signed length": (request(CARTPOLE, JSON, "Content-Length: +13") + STATE, 400),
    "bare line feeds": (PREDICTION.replace(b"\r\n", b"\n"), 400),
    "a folded header": (request(CARTPOLE, JSON, "X-A: b\r\n c", body=STATE), 400),
    "a folded coding": (request(CARTPOLE, JSON, "Transfer-Encoding:\r\n chunked") + CHUNK, 400),
    "a space before the colon": (request(CARTPOLE, JSON, "Content-Length : 13") + STATE, 400),
    "bare line feeds in chunks": (
        request(CARTPOLE, JSON, "Transfer-Encoding: chunked") + CHUNK.replace(b"\r\n", b"\n"),
        400,
    ),
    "a coding beside chunks": (request(CARTPOLE, JSON, "Transfer-Encoding: gzip, chunked") + CHUNK, 501),
    "an unknown coding": (request(CARTPOLE, JSON, "Transfer-Encoding: xchunked") + CHUNK, 501),
    "another expectation": (request(CARTPOLE, JSON, "Expect: 200-ok", body=STATE), 417),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "no host": (request(CARTPOLE, JSON, body=STATE, host=None), 400),
    "two hosts": (request(CARTPOLE, JSON, "Host: localhost", body=STATE), 400),
}


@pytest.mark.parametrize(("sent", "status"), DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_connection_doubtful_request_end_is_refused(front: str, sent: bytes, status: int) -> None:
    with connected(front) as connection:
        connection.send(sent + HEALTH)
        text = connection.rest()
    assert statuses(text) == [status]
    assert b"connection: close" in text


def test_connection_refusal_waits_for_the_response_before(front: str, given: GivenTorchServe) -> None:
    given.hold()
    with connected(front) as connection:
        asked = given.asked
        connection.send(request(DIGITS, PNG, body=b"hold this") + b"hello\r\n\r\n")
        wait_for(lambda: given.asked > asked)
        given.release()
        text = connection.rest()
    assert statuses(text) == [200]
    assert b"connection: close" in text


def test_connection_100_continue_once_and_never_for_http_1_0(front: str) -> None:
    for version, interim in (("1.1", True), ("1.0", False)):
        whole = request(CARTPOLE, JSON, "Expect: 100-Continue", "Connection: close", body=STATE, version=version)
        with connected(front) as connection:
            connection.send(whole[: -len(STATE)])
            if interim:
                assert connection.line() + connection.line() == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.send(STATE)
            assert statuses(connection.rest()) == [200]


def test_connection_refused_before_body_is_closed(front: str) -> None:
    """Whether the body comes all the same nobody knows, so that nothing behind it can be read."""
    answer = exchange(front, request("/nowhere", PNG, "Expect: 100-continue", "Content-Length: 9"))
    assert (answer.status, answer.headers["connection"]) == (404, "close")


@pytest.mark.parametrize("body", [STATE, HELD_STATE, b"a picture of some length", b"hold this picture"])
def test_half_closed_client_gets_its_response(front: str, given: GivenTorchServe, body: bytes) -> None:
    given.hold()
    sent = request(CARTPOLE, JSON, body=body) if body[:1] == b"[" else request(DIGITS, PNG, body=body)
    with connected(front) as connection:
        asked = given.asked
        connection.send(sent)
        connection.half_close()
        wait_for(lambda: given.asked > asked)
        given.release()
        assert statuses(connection.rest()) == [200]


def test_half_closed_client_gets_all_responses(front: str) -> None:
    with connected(front) as connection:
        connection.send(PREDICTION + HEALTH + PREDICTION + PREDICTION[:-1])
        connection.half_close()
        assert statuses(connection.rest()) == [200, 200, 200]


def test_half_closed_within_a_request_gets_nothing(front: str) -> None:
    for sent in (b"", PREDICTION[:30], PREDICTION[:-1], request(DIGITS, PNG, "Content-Length: 99") + b"half"):
        with connected(front) as connection:
            connection.send(sent)
            connection.half_close()
            assert connection.rest() == b""


@pytest.mark.parametrize("body", [HELD_STATE, b"hold this picture"])
def test_half_closed_client_that_is_gone_is_noticed(given: GivenTorchServe, body: bytes) -> None:
    given.hold()
    path, media = (CARTPOLE, JSON) if body[:1] == b"[" else (DIGITS, PNG)
    with gateway_for(given) as front:
        with connected(front) as connection:
            left, asked = given.left, given.asked
            connection.send(request(path, media, body=body))
            wait_for(lambda: given.asked > asked)
        wait_for(lambda: given.left > left)
        wait_for(lambda: metric(front, "marina_gateway_request_seconds_count", status="499") == 1)
    given.release()


@pytest.mark.parametrize(
    "sent",
    [
        request(CARTPOLE, JSON, "Connection: Keep-Alive", body=STATE, version="1.0"),
        request(CARTPOLE, JSON, "Connection: Keep-Alive", "X-Deadline-Ms: 9000", body=STATE, version="1.0"),
        request("/healthz", "Connection: keep-alive", method="GET", version="1.0", host=None),
    ],
)
def test_http_1_0_keep_alive_is_confirmed(front: str, sent: bytes) -> None:
    with connected(front) as connection:
        for _ in range(3):
            connection.send(sent)
            answer = connection.read()
            assert (answer.status, answer.headers["connection"]) == (200, "keep-alive")


def test_http_1_0_without_keep_alive_is_closed(front: str) -> None:
    with connected(front) as connection:
        connection.send(request(CARTPOLE, JSON, body=STATE, version="1.0"))
        text = connection.rest()
    assert statuses(text) == [200]
    assert b"connection: close" in text


@pytest.mark.parametrize("lines", [(f"Content-Length: {BIG}",), ("Transfer-Encoding: chunked",)])
def test_refused_upload_reads_its_response(front: str, lines: tuple[str, ...]) -> None:
    with connected(front) as connection:
        connection.send(request(DIGITS, PNG, "Connection: close", *lines))
        for _ in range(BIG >> 16):
            connection.send(b"10000\r\n" + b"x" * 65536 + b"\r\n" if "chunked" in lines[0] else b"x" * 65536)
        text = connection.rest()
    assert statuses(text) == [413]
    assert b"connection: close" in text


def test_refused_client_may_send_a_bounded_rest(front: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.http.closing.LINGER_BYTES", 1 << 20)
    with connected(front) as connection:
        connection.send(request(DIGITS, PNG, "Connection: close", f"Content-Length: {1 << 40}"))
        pieces = [b"x" * 65536] * 100_000
        with pytest.raises(OSError, match=r"reset|pipe"):
            connection.send(*pieces)


def test_refused_silent_client_is_closed(front: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.http.closing.LINGER_S", 0.2)
    with connected(front) as connection:
        connection.send(b"hello\r\n\r\n")
        assert statuses(connection.rest()) == [400]

        def closed() -> bool:
            try:
                connection.send(b"x")
            except OSError:
                return True
            return False

        wait_for(closed)
