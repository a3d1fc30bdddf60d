"""Other sites: whose pages may read answers (CORS), and under which names the gateway is asked (DNS rebinding)."""

import socket
from collections.abc import Iterator

import pytest
import requests

import settings
from errors import ConfigError
from gateway.security import KnownHosts
from tests.gateway.given import GivenTorchServe
from tests.gateway.raw import CARTPOLE, DIGITS, JSON, PNG, STATE, Answer, exchange, request
from tests.gateway.served import gateway_for
from tests.gateway.test_security import KEY, KEYS

PAGE = "https://app.example"
ORIGIN = f"Origin: {PAGE}"
LIMIT = 4096


def sites(*overrides: str) -> KnownHosts:
    return KnownHosts(settings.load(list(overrides)).gateway)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:5003", "localhost.", "a.localhost:80", "127.0.0.1", "127.9.9.9:1", "[::1]:5003", "[::1]"],
)
def test_sites_a_loopback_name_is_known(host: str) -> None:
    assert sites().knows(host, "127.0.0.1")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:5003", "127.0.0.1.evil.example", "localhost.evil.example", "notlocalhost", "x",
        "10.0.0.1", "[2001:db8::1]", "", ":5003", "localhost@evil.example", "[::1]evil.example", "[::1", "::1", "a b",
        "localhost:80:80", "\xe9",
    ],
)  # fmt: skip
def test_sites_another_name_is_not_known(host: str) -> None:
    assert not sites().knows(host, "127.0.0.1")


def test_sites_the_bound_address_and_configured_names_are_known() -> None:
    assert sites().knows("10.0.0.1:5003", "10.0.0.1")
    named = sites("gateway.security.hosts=[models.example, Gateway]")
    for host in ("models.example", "MODELS.example:5003", "gateway:5003"):
        assert named.knows(host, "127.0.0.1")
    assert not named.knows("a.models.example", "127.0.0.1")


def test_sites_an_open_gateway_knows_any_address_and_its_machines_name_but_no_other() -> None:
    insecure = sites("gateway.host=0.0.0.0", "gateway.insecure=true")
    for host in ("10.0.0.1", "192.0.2.7:5003", "[2001:db8::1]:5003", socket.gethostname()):
        assert insecure.knows(host, "172.17.0.2")
    assert not insecure.knows("evil.example", "172.17.0.2")


@pytest.mark.parametrize("name", ["a:5003", "http://a", "a b", "", "[::1]", "a/b"])
def test_settings_a_host_with_anything_beside_its_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="hosts"):
        settings.load([f"gateway.security.hosts=['{name}']"])


ASKED = {
    "state": request(CARTPOLE, JSON, body=STATE, host="evil.example"),
    "picture": request(DIGITS, PNG, body=b"a picture of some length", host="evil.example:5003"),
    "models": request("/models", method="GET", host="evil.example"),
    "console": request("/", "Accept: text/html", method="GET", host="evil.example"),
    "whole url": request("http://evil.example/models", method="GET"),
    "old client": request("/models", method="GET", host="evil.example", version="1.0"),
}


@pytest.mark.parametrize("sent", ASKED.values(), ids=ASKED.keys())
def test_a_request_under_another_sites_name_is_refused(front: str, sent: bytes) -> None:
    answer = exchange(front, sent)
    assert (answer.status, answer.json()["error"]) == (403, "forbidden")
    assert "gateway.security.hosts" in answer.json()["detail"]


def test_a_request_under_a_name_of_the_settings_is_answered(given: GivenTorchServe) -> None:
    with gateway_for(given, "gateway.security.hosts=[evil.example]") as url:
        assert exchange(url, ASKED["state"]).status == exchange(url, ASKED["models"]).status == 200


def test_where_keys_are_asked_for_the_name_does_not_count(given: GivenTorchServe) -> None:
    with gateway_for(given, KEYS) as url:
        key = f"X-Api-Key: {KEY}"
        assert exchange(url, request(CARTPOLE, JSON, key, body=STATE, host="evil.example")).status == 200
        assert exchange(url, ASKED["state"]).status == 401


@pytest.fixture(scope="module")
def shared(given: GivenTorchServe) -> Iterator[str]:
    """A gateway with keys whose answers another site's pages may read."""
    cors = (f"gateway.security.cors_origins=[{PAGE}]", f"gateway.max_body_bytes={LIMIT}")
    with gateway_for(given, KEYS, *cors, "gateway.max_receiving_mb=1", "gateway.breaker.failures=1000000") as url:
        yield url


WITH_KEY = f"X-Api-Key: {KEY}"
READABLE: dict[str, tuple[bytes, int]] = {
    "prediction": (request(CARTPOLE, ORIGIN, WITH_KEY, JSON, body=STATE), 200),
    "models": (request("/models", ORIGIN, WITH_KEY, method="GET"), 200),
    "no key": (request(CARTPOLE, ORIGIN, JSON, body=STATE), 401),
    "unknown model": (request("/models/nobody/predict", ORIGIN, WITH_KEY, PNG, body=b"x"), 404),
    "unknown route": (request("/nowhere", ORIGIN, WITH_KEY, method="GET"), 404),
    "another method": (request(CARTPOLE, ORIGIN, WITH_KEY, method="PUT"), 405),
    "too large": (request(DIGITS, ORIGIN, WITH_KEY, PNG, body=bytes(LIMIT + 1)), 413),
    "wrong type": (request(CARTPOLE, ORIGIN, WITH_KEY, PNG, body=b"x"), 415),
    "wrong fields": (request("/predict", ORIGIN, WITH_KEY, JSON, body=b"[1]"), 422),
    "no worker": (request(DIGITS, ORIGIN, WITH_KEY, PNG, body=b"refuse this picture"), 503),
    "late": (request(DIGITS, ORIGIN, WITH_KEY, PNG, "X-Deadline-Ms: 0", body=b"x"), 504),
    "tensors": (request("/v2/models/nobody/infer", ORIGIN, WITH_KEY, JSON, body=b"{}"), 404),
    "no HTTP": (request(CARTPOLE, ORIGIN, "Content-Length: +1"), 400),
    "long head": (request(CARTPOLE, ORIGIN, "X-A: " + "a" * 20_000), 431),
    "unknown coding": (request(CARTPOLE, ORIGIN, "Transfer-Encoding: gzip, chunked"), 501),
}


@pytest.mark.parametrize(("sent", "status"), READABLE.values(), ids=READABLE.keys())
def test_every_answer_and_every_error_can_be_read_by_a_page_that_may(shared: str, sent: bytes, status: int) -> None:
    answer = exchange(shared, sent)
    assert (answer.status, answer.headers.get("access-control-allow-origin")) == (status, PAGE)
    assert "retry-after" in answer.headers["access-control-expose-headers"]
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize(("sent", "status"), READABLE.values(), ids=READABLE.keys())
def test_no_answer_can_be_read_by_another_page(shared: str, sent: bytes, status: int) -> None:
    answer = exchange(shared, sent.replace(PAGE.encode(), b"https://evil.example"))
    assert (answer.status, answer.headers.get("access-control-allow-origin")) == (status, None)
    assert "Origin" in answer.headers["vary"]


def asked_before(url: str, origin: str) -> requests.Response:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    return requests.options(url + CARTPOLE, headers=headers, timeout=30)


def test_what_a_browser_asks_first_needs_no_key_and_has_one_origin(shared: str) -> None:
    allowed = asked_before(shared, PAGE)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, PAGE)
    assert allowed.headers["access-control-allow-headers"] == "x-api-key"
    assert asked_before(shared, "https://evil.example").status_code == 400


def test_every_origin_may_be_allowed(given: GivenTorchServe) -> None:
    with gateway_for(given, "gateway.security.cors_origins=['*']") as url:
        answer: Answer = exchange(url, request("/nowhere", ORIGIN, method="GET"))
        assert answer.headers["access-control-allow-origin"] == "*"
        assert asked_before(url, PAGE).headers["access-control-allow-origin"] == "*"
