"""Copies of requests for a version under trial: compared with what clients got, and never in their way."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from errors import Internal
from gateway.hooks import EngineResponse, PredictionRequest
from gateway.traffic import shadow
from gateway.traffic.shadow import LARGE
from handlers.outputs import Comparison
from tests.gateway.stage_parts import GivenEngine, answer, now, request, settle
from tests.gateway.trial_parts import TRIAL, Hanging, Setting, fails_on_trial

pytestmark = pytest.mark.anyio


async def copies_done(setting: Setting) -> None:
    deadline = now() + 5
    while setting.shadow._under_way:
        assert now() < deadline
        await asyncio.sleep(0.001)


async def test_shadow_compares_copies_and_clients_get_default_version(tmp_path: Path) -> None:
    setting = Setting(tmp_path, GivenEngine(), weight=0.0, copies=0.5)
    for number in range(20):
        assert await setting.traffic.predict(request([number])) == answer(number)
        await copies_done(setting)
    copies = [one.version for one in setting.engine.seen].count(TRIAL)
    assert copies == pytest.approx(10, abs=1)
    assert setting.count("shadow_total", version=TRIAL, result="same") == copies
    assert setting.counted(TRIAL, way="shadow") == copies
    assert setting.counted(TRIAL) == 0


async def test_shadow_copies_that_hang_are_limited(tmp_path: Path) -> None:
    setting = Setting(tmp_path, Hanging(), weight=0.0, copies=1.0, max_copies=3)
    for number in range(20):
        assert await setting.traffic.predict(request([number])) == answer(number)
    await settle()
    assert [one.version for one in setting.engine.seen].count(TRIAL) == 3
    assert setting.count("shadow_total", version=TRIAL, result="dropped") == 17
    await setting.shadow.close()
    assert not setting.shadow._under_way


async def test_shadow_failed_and_late_copies_are_counted(tmp_path: Path) -> None:
    setting = Setting(tmp_path, fails_on_trial(lambda: Internal("x")), weight=0.0, copies=1.0)
    assert await setting.traffic.predict(request([1])) == answer(1)
    await copies_done(setting)
    setting = Setting(tmp_path, Hanging(), weight=0.0, copies=1.0, copy_timeout_s=0.05)
    assert await setting.traffic.predict(request([1])) == answer(1)
    await copies_done(setting)
    assert setting.count("shadow_total", version=TRIAL, result="failed") == 1
    assert setting.counted(TRIAL, way="shadow", status=504) == 1


async def test_shadow_compares_large_answers_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wordy(GivenEngine):
        async def predict(self, request: PredictionRequest) -> EngineResponse:
            return EngineResponse(b'{"predictions": ["' + b"a" * LARGE + b'"]}', "application/json", "1.0")

    going_on = threading.Event()
    compared = shadow._compared

    def slow(*given: Any) -> Comparison:
        assert going_on.wait(30)
        return compared(*given)

    monkeypatch.setattr(shadow, "_compared", slow)
    setting = Setting(tmp_path, Wordy(), weight=0.0, copies=1.0)
    for number in range(2):
        await setting.traffic.predict(request([number]))
    await settle()
    assert len(setting.shadow._under_way) == 2
    going_on.set()  # the event loop gets here only if comparing does not keep it
    await copies_done(setting)
    assert setting.count("shadow_total", version=TRIAL, result="same") == 2
    await setting.shadow.close()
