"""The engine's tokens: renewed in time, read again when others renewed them, and never shown."""

import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
import requests

import settings
from engines.torchserve.key_file import read_keys
from engines.torchserve.key_ring import KeyPlace, KeyRing
from gateway.samples import PICTURE
from gateway.upstream.connections import open_session
from tests.gateway.engine import Engine
from tests.gateway.served import gateway_for

HOUR_S = 3600.0
CONTENT = {
    "management": {"key": "m-secret", "expiration time": "2026-11-21T07:59:52.067098701Z"},
    "inference": {"key": "i-secret", "expiration time": "2026-11-21T07:59:52Z"},
    "API": {"key": "a-secret"},
}


@asynccontextmanager
async def ring(engine: Engine, ahead_s: float = 0, margin_s: float = 60) -> AsyncIterator[KeyRing]:
    """Keys of this engine as seen by a clock that is `ahead_s` seconds fast."""
    place = KeyPlace(engine.key_file, f"http://127.0.0.1:{engine.management_port}", margin_s)
    async with open_session(settings.load([]).gateway) as session:
        keys = KeyRing(place, session, lambda: time.time() + ahead_s)
        yield keys
        await keys.close()


def accepted(engine: Engine, token: str | None) -> bool:
    url = f"http://127.0.0.1:{engine.inference_port}/predictions/digits"
    return requests.post(url, data=PICTURE, headers={"Authorization": f"Bearer {token}"}, timeout=30).status_code == 200


@pytest.mark.anyio
async def test_a_token_that_is_good_for_long_is_used_as_it_is(engine: Engine) -> None:
    async with ring(engine) as keys:
        assert await keys.token("inference") == engine.keys()["inference"]


@pytest.mark.anyio
async def test_a_token_about_to_expire_is_renewed_while_it_is_still_used(engine: Engine) -> None:
    old = engine.keys()["inference"]
    async with ring(engine, margin_s=2 * HOUR_S) as keys:
        assert await keys.token("inference") == old
        for _ in range(3000):
            if await keys.token("inference") != old:
                break
            await anyio.sleep(0.01)
        new = await keys.token("inference")
        assert new != old
        assert accepted(engine, new)


@pytest.mark.anyio
async def test_an_expired_token_is_renewed_before_it_is_used(engine: Engine) -> None:
    old = engine.keys()["inference"]
    async with ring(engine, ahead_s=2 * HOUR_S) as keys:
        new = await keys.token("inference")
        assert new != old
        assert accepted(engine, new)


@pytest.mark.anyio
async def test_a_refused_token_that_others_renewed_is_only_read_again(engine: Engine) -> None:
    async with ring(engine) as keys:
        old = await keys.token("inference")
        engine.renew("inference")
        renewed = engine.keys()["inference"]
        assert await keys.replaced("inference", old)
        assert await keys.token("inference") == renewed == engine.keys()["inference"]


@pytest.mark.anyio
async def test_many_refused_at_once_cost_one_renewal(engine: Engine) -> None:
    async with ring(engine) as keys:
        old = await keys.token("inference")
        seen: set[str | None] = set()

        async def refused() -> None:
            assert await keys.replaced("inference", old)
            seen.add(await keys.token("inference"))

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(refused)
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


@pytest.mark.anyio
async def test_a_half_written_key_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    text = json.dumps(CONTENT)
    file.write_text(text[: len(text) // 2])

    async def finish() -> None:
        file.write_text(text)

    async with anyio.create_task_group() as group:
        group.start_soon(finish)
        keys = await read_keys(file)
    assert keys is not None
    assert keys.token("inference").value == "i-secret"
    assert keys.token("management").expires == pytest.approx(1795247992.067099, abs=1e-5)


@pytest.mark.anyio
async def test_keys_do_not_show_in_their_representation(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(CONTENT))
    assert "secret" not in repr(await read_keys(file))
