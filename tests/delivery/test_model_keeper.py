import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery.journal import rollout_lock
from delivery.model_keeper import HEARTBEAT, ModelKeeper, keep
from delivery.rollout import roll_out
from deployments.serving import DeployedVersion, ServingRecord, VersionHistory
from errors import EngineError
from settings import Settings, load
from settings.load import ROOT
from tests.archive.made import archive_at, named
from tests.delivery.conftest import Scene
from tests.ports import free_port

SERVED = DeployedVersion("1.0", "digits-1.0.mar", batch_size=4, max_batch_delay=5, initial_workers=1)


@pytest.mark.parametrize("damaged", [False, True])
def test_keeper_problem_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture, damaged: bool) -> None:
    settings = load([f"paths.state={tmp_path}", f"engine.management_port={free_port()}"], config=ROOT / "config")
    ServingRecord.of(settings).put("digits", VersionHistory(SERVED))
    if damaged:
        (tmp_path / "serving.json").write_text('{"digits": ')
    stop = threading.Event()
    with caplog.at_level(logging.INFO):
        keeper = threading.Thread(target=keep, args=(settings, stop, 0.01))
        keeper.start()
        deadline = time.monotonic() + 20
        while len(_heartbeats(tmp_path, deadline)) < 3:
            assert keeper.is_alive()
        stop.set()
        keeper.join(20)
    assert not keeper.is_alive()
    (said,) = caplog.messages
    assert said.startswith("nothing is restored yet: ")
    assert ("damaged" in said) is damaged


def test_keeper_survives_a_fault_that_nobody_expected(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = iter([RuntimeError("odd"), RuntimeError("odd"), EngineError("the engine is away")])

    def broken(settings: Settings) -> Iterator[str]:
        raise next(turns)

    monkeypatch.setattr("delivery.model_keeper.models_behind", broken)
    keeper = ModelKeeper(load([f"paths.state={tmp_path}"]))
    for _ in range(3):
        keeper.turn()
    odd, away = caplog.records
    assert "RuntimeError('odd')" in odd.getMessage()
    assert odd.exc_info is not None
    assert away.getMessage().endswith("the engine is away")
    assert away.exc_info is None


def test_keeper_skips_a_model_whose_rollout_is_under_way(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("busy", "one"):
        archive_at(scene.built, named(name))
        roll_out(scene.built, scene.settings())
    host, keeper = scene.hosts["engine"], ModelKeeper(scene.settings())
    host.forget()
    with rollout_lock("busy", scene.settings()):
        turn = threading.Thread(target=keeper.turn)
        turn.start()
        turn.join(20)
        assert not turn.is_alive()
        assert host.models() == ["one"]
    keeper.turn()
    assert host.models() == ["busy", "one"]
    assert "restored" not in caplog.text


def _heartbeats(state: Path, deadline: float) -> set[int]:
    """Three different times of the heartbeat, or as many as come before the deadline."""
    seen: set[int] = set()
    while len(seen) < 3 and time.monotonic() < deadline:
        if (state / HEARTBEAT).exists():
            seen.add((state / HEARTBEAT).stat().st_mtime_ns)
        time.sleep(0.005)
    return seen
