"""The file that says which requests a version under trial gets, as each gateway process follows it."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from tests.gateway.stage_parts import GivenEngine, now
from tests.gateway.trial_parts import Setting

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("content", ["", '{"schema_version": 1, "mod', '{"schema_version": 2, "models": {}}', "\0"])
async def test_splits_unreadable_file_changes_nothing(tmp_path: Path, content: str) -> None:
    setting = Setting(tmp_path, GivenEngine())
    setting.file.write_text(content)
    setting.splits.read()
    setting.splits.read()
    assert setting.splits.find("cartpole") is not None
    setting.write(weight=0.7)
    found = setting.splits.find("cartpole")
    assert found is not None
    assert found.weight == 0.7


async def test_splits_missing_file_ends_every_trial(tmp_path: Path) -> None:
    setting = Setting(tmp_path, GivenEngine())
    setting.file.unlink()
    setting.splits.read()
    assert setting.splits.find("cartpole") is None


async def test_splits_trial_ends_at_its_until(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    until = time.time() + 60
    setting = Setting(tmp_path, GivenEngine(), until=until)
    setting.splits.start()
    assert setting.splits.find("cartpole") is not None
    monkeypatch.setattr("gateway.traffic.splits.time", SimpleNamespace(time=lambda: until))
    deadline = now() + 60
    while setting.splits.find("cartpole") is not None:
        assert now() < deadline
        await asyncio.sleep(0.01)
    setting.splits.close()


async def test_splits_file_that_could_not_be_read_once_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(tmp_path, GivenEngine())
    with monkeypatch.context() as broken:
        broken.setattr("gateway.traffic.splits.read_traffic", Mock(side_effect=PermissionError))
        setting.write(weight=0.25)
        before = setting.splits.find("cartpole")
    setting.splits.read()
    after = setting.splits.find("cartpole")
    assert after is not None
    assert before is not None
    assert (after.weight, before.weight != 0.25) == (0.25, True)
