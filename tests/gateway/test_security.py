"""Who may ask, how much, and from where."""

import hashlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

import settings
from errors import ConfigError, MetricsError
from gateway import server
from gateway.apikey import new_key
from gateway.examples import PICTURE
from tests.gateway.engine import Engine
from tests.gateway.served import figures_of, gateway_for
from tests.polling import wait_for
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
DIGITS = "/models/digits/predict"
KEY, DIGEST = new_key()
OTHER, OTHER_DIGEST = new_key()
SLOW = f"{{name: slow, sha256: {OTHER_DIGEST}, rate: 2/hour}}"
KEYS = f"gateway.security.api_keys=[{{name: mine, sha256: {DIGEST}}}, {SLOW}]"


@pytest.fixture(scope="module")
def locked(engine: Engine) -> Iterator[str]:
    with gateway_for(engine, KEYS) as url:
        yield url


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {KEY}"}, {"X-Api-Key": KEY}])
def test_a_known_key_opens(locked: str, headers: dict[str, str]) -> None:
    assert requests.post(locked + DIGITS, data=PICTURE, headers=headers, timeout=30).status_code == 200
    assert requests.get(f"{locked}/models", headers=headers, timeout=30).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"X-Api-Key": KEY[:-1]}, {"X-Api-Key": DIGEST}, {"Authorization": f"Basic {KEY}"}, {"X-Api-Key": ""}],
)
def test_without_a_known_key_nothing_is_answered(locked: str, headers: dict[str, str]) -> None:
    answer = requests.post(locked + DIGITS, data=PICTURE, headers=headers, timeout=30)
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/", "/models", "/metrics", "/nowhere"):
        assert requests.get(locked + path, headers=headers, timeout=30).status_code == 401
    assert requests.get(f"{locked}/healthz", timeout=30).status_code == 200


def test_figures_are_read_with_a_key_and_refused_without_one(locked: str) -> None:
    assert figures_of(locked, f"gateway.api_key={KEY}").look()
    for wrong in ((), ("gateway.api_key=wrong",)):
        with pytest.raises(MetricsError, match="MARINA_API_KEY"):
            figures_of(locked, *wrong).look()


def test_a_key_that_asks_too_often_is_told_when_to_come_back(locked: str) -> None:
    answers = [requests.get(f"{locked}/models", headers={"X-Api-Key": OTHER}, timeout=30) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["error"] == "rate_limited"
    assert 0 < int(answers[2].headers["retry-after"]) <= 3600
    assert requests.get(f"{locked}/models", headers={"X-Api-Key": KEY}, timeout=30).status_code == 200


def test_the_document_says_how_to_send_a_key(locked: str) -> None:
    document = requests.get(f"{locked}/openapi.json", timeout=30).json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}


def test_the_document_has_the_status_of_each_route_without_a_key(locked: str) -> None:
    paths = requests.get(f"{locked}/openapi.json", timeout=30).json()["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            answer = requests.request(method, locked + re.sub(r"{\w+}", "x", path), timeout=30)
            assert str(answer.status_code) in operation["responses"], (method, path)


def test_the_program_prints_a_key_and_its_hash_once() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.apikey", "mine"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    key = done.stdout.split("only now: ")[1].split()[0]
    assert f"sha256: {hashlib.sha256(key.encode()).hexdigest()}" in done.stdout


@pytest.mark.parametrize(
    ("words", "status"), [([], 2), (["--help"], 0), (["-x"], 2), (["a b"], 2), (["one", "two"], 2), (["A"], 2)]
)
def test_apikey_word_that_is_no_name_makes_no_key(words: list[str], status: int) -> None:
    command = [sys.executable, "-m", "gateway.apikey", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert "usage: python -m gateway.apikey NAME" in done.stdout + done.stderr
    assert "sha256" not in done.stdout


def test_keys_let_the_gateway_be_seen_from_elsewhere_and_bad_ones_are_refused() -> None:
    opened = settings.load(["gateway.host=0.0.0.0", KEYS]).gateway
    assert server.options(opened)["host"] == "0.0.0.0"
    for bad in ("{name: a, sha256: abc}", f"{{name: a, sha256: {DIGEST}, rate: often}}"):
        with pytest.raises(ConfigError):
            settings.load([f"gateway.security.api_keys=[{bad}]"])


def address_of_this_machine() -> str:
    found = [each.address for some in psutil.net_if_addrs().values() for each in some if each.family == socket.AF_INET]
    outside = [address for address in found if not address.startswith("127.")]
    if not outside:
        pytest.skip("this machine has no address but loopback")
    return outside[0]


def test_under_uvicorns_own_flags_other_machines_are_refused_too(no_engine: Engine) -> None:
    address, port = address_of_this_machine(), free_port()
    command = [sys.executable, "-m", "uvicorn", "app:app", "--host", "0.0.0.0", "--port", str(port)]
    env = os.environ | {"MARINA_GATEWAY_GRPC_PORT": str(free_port())}  # a user's stack may have the usual one
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def status(host: str) -> int:
        try:
            return requests.get(f"http://{host}:{port}/healthz", timeout=5).status_code
        except OSError:
            return 0

    try:
        wait_for(lambda: status("127.0.0.1") == 200)
        assert status(address) == 403
    finally:
        process.terminate()
        process.wait(30)


def test_cors_is_off_unless_origins_are_named(engine: Engine, gateway: str) -> None:
    origin = {"Origin": "https://app.example"}
    assert "access-control-allow-origin" not in requests.get(f"{gateway}/models", headers=origin, timeout=30).headers
    with gateway_for(engine, "gateway.security.cors_origins=[https://app.example]") as url:
        asked = requests.options(url + DIGITS, headers={**origin, "Access-Control-Request-Method": "POST"}, timeout=30)
        answer = requests.post(url + DIGITS, data=PICTURE, headers=origin, timeout=30)
        for each in (asked, answer):
            assert (each.status_code, each.headers["access-control-allow-origin"]) == (200, "https://app.example")


def test_pages_may_not_be_framed(gateway: str) -> None:
    answer = requests.get(f"{gateway}/", headers={"Accept": "text/html"}, timeout=30)
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
