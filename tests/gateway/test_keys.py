"""The engine's tokens: renewed in time, read again when others renewed them, and never shown."""

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from engines.profiles import TORCHSERVE
from engines.torchserve.auth import KeyRing
from gateway.examples import PICTURE
from settings.schema import EngineHostSettings
from tests.gateway.engine import Engine
from tests.gateway.served import gateway_for
from tests.polling import wait_for

HOUR_S = 3600.0
CONTENT = {
    "management": {"key": "m-secret", "expiration time": "2026-11-21T07:59:52.067098701Z"},
    "inference": {"key": "i-secret", "expiration time": "2026-11-21T07:59:52Z"},
    "API": {"key": "a-secret"},
}


def ring(engine: Engine, ahead_s: float = 0, margin_s: float = 60) -> KeyRing:
    """Keys of this engine as seen by a clock that is `ahead_s` seconds fast."""
    host = EngineHostSettings(
        name="engine",
        inference_url=f"http://127.0.0.1:{engine.inference_port}",
        management_url=f"http://127.0.0.1:{engine.management_port}",
        key_file=str(engine.key_file),
    )
    return KeyRing(host, TORCHSERVE, margin_s, lambda: time.time() + ahead_s)


def accepted(engine: Engine, token: str | None) -> bool:
    url = f"http://127.0.0.1:{engine.inference_port}/predictions/digits"
    return requests.post(url, data=PICTURE, headers={"Authorization": f"Bearer {token}"}, timeout=30).status_code == 200


def test_key_ring_keeps_a_token_that_is_valid_for_long(engine: Engine) -> None:
    keys = ring(engine)
    assert keys.current("inference") is None
    assert keys.token("inference") == keys.current("inference") == engine.keys()["inference"]


def test_key_ring_renews_a_token_about_to_expire_while_it_is_still_used(engine: Engine) -> None:
    old = engine.keys()["inference"]
    keys = ring(engine, margin_s=2 * HOUR_S)
    assert keys.token("inference") == old
    assert keys.current("inference") == old
    wait_for(lambda: keys.current("inference") != old)
    new = keys.current("inference")
    assert accepted(engine, new)


def test_key_ring_renews_an_expired_token_before_its_use(engine: Engine) -> None:
    old = engine.keys()["inference"]
    keys = ring(engine, ahead_s=2 * HOUR_S)
    new = keys.token("inference")
    assert new != old
    assert accepted(engine, new)


def test_key_ring_reads_a_refused_token_again_that_others_renewed(engine: Engine) -> None:
    keys = ring(engine)
    old = keys.token("inference")
    engine.renew("inference")
    renewed = engine.keys()["inference"]
    assert keys.replace("inference", old)
    assert keys.token("inference") == renewed == engine.keys()["inference"]


def test_key_ring_renews_once_for_many_threads_that_were_refused(engine: Engine) -> None:
    keys = ring(engine)
    old = keys.token("inference")

    def refused(_: int) -> str:
        assert keys.replace("inference", old)
        return keys.token("inference")

    with ThreadPoolExecutor(10) as threads:
        seen = set(threads.map(refused, range(10)))
    assert seen == {engine.keys()["inference"]}


@pytest.mark.parametrize("interface", ["inference", "management"])
def test_the_gateway_survives_that_others_renew_the_tokens(engine: Engine, gateway: str, interface: str) -> None:
    assert requests.post(f"{gateway}/models/digits/predict", data=PICTURE, timeout=30).status_code == 200
    engine.renew(interface)
    assert requests.post(f"{gateway}/models/digits/predict", data=PICTURE, timeout=30).status_code == 200
    assert requests.get(f"{gateway}/models/nobody", timeout=30).status_code == 404


def test_wrong_keys_are_no_worker_and_are_not_shown(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "keys.json"
    later = CONTENT["inference"] | {"expiration time": "2999-01-01T00:00:00Z"}
    file.write_text(json.dumps(CONTENT | {"inference": later, "management": later | {"key": "m-secret"}}))
    with gateway_for(engine, f"engine.key_file={file}") as gateway:
        answer = requests.post(f"{gateway}/models/digits/predict", data=PICTURE, timeout=30)
    assert answer.status_code == 503
    assert "secret" not in answer.text + caplog.text


def test_a_missing_key_file_is_no_worker(engine: Engine, tmp_path: Path) -> None:
    with gateway_for(engine, f"engine.key_file={tmp_path}/none.json") as gateway:
        assert requests.post(f"{gateway}/models/digits/predict", data=PICTURE, timeout=30).status_code == 503
