"""The disk of the state folder is full, or can only be read: rollouts stop in time, and models come back."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from delivery.autoscaler import resize
from delivery.model_keeper import ModelKeeper, heartbeats
from delivery.rollout import restore_model, roll_back
from deployments.traffic import TrafficFile, TrafficSplit
from errors import MarinaError, RolloutError
from files import file_lock
from settings.schema import RegistrationSettings
from tests.delivery.conftest import Scene
from tests.small_disk import SmallDisk, small_disk

FULL = r"No space left on device \([\d,]+ bytes free, [\d,]+ needed\); free some space on its disk"
NO_ROOM = "No space left on device ("
FREE_SOME = "; free some space on its disk, then run the command again"


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(request: pytest.FixtureRequest, any_scene: Scene) -> Iterator[SmallDisk]:
    """The disk of the scene's state folder, with one version rolled out."""
    with small_disk(any_scene.state, kind=request.param) as made:
        any_scene.upload(0)
        yield made


def lose_models(scene: Scene) -> None:
    for host in scene.hosts.values():
        host.forget()


def assert_settled(scene: Scene, version: str) -> None:
    """This version serves alone on every host, as recorded, and nothing half is left."""
    assert scene.serving() == {version}
    assert scene.history()[0] == version
    assert scene.litter() == []
    assert all(set(host.registered["toy"]) == {version} for host in scene.hosts.values())


def test_rollout_on_a_full_disk_stops_before_its_first_step(any_scene: Scene, disk: SmallDisk) -> None:
    disk.fill()
    with pytest.raises(RolloutError) as caught:
        any_scene.upload(1)
    line = str(caught.value)
    assert "toy 1.1 was not rolled out" in line
    assert f"{any_scene.state}/rollouts/" in line
    assert NO_ROOM in line
    assert FREE_SOME in line
    disk.free()
    assert_settled(any_scene, "1.0")
    assert any_scene.stored() == {"toy-1.0.mar"}
    assert any_scene.upload(1).version == "1.1"
    assert_settled(any_scene, "1.1")


def test_journal_line_names_its_bytes(tmp_path: Path, scene: Scene) -> None:
    with small_disk(scene.state) as disk:
        scene.upload(0)
        disk.fill()
        with pytest.raises(RolloutError, match=rf"rollouts/toy\.json: {FULL}"):
            scene.upload(1)


def test_rollout_on_a_disk_that_can_only_be_read_stops_before_its_first_step(any_scene: Scene, disk: SmallDisk) -> None:
    disk.read_only()
    with pytest.raises(MarinaError, match=r"toy\.lock: Read-only file system; mount its disk for writing"):
        any_scene.upload(1)
    disk.writable()
    assert_settled(any_scene, "1.0")


CLOSED = [SmallDisk.fill, SmallDisk.read_only]


@pytest.mark.parametrize("close", CLOSED, ids=["full", "read-only"])
def test_keeper_restores_without_a_write(
    any_scene: Scene, disk: SmallDisk, close: Callable[[SmallDisk], None], caplog: pytest.LogCaptureFixture
) -> None:
    close(disk)
    keeper = ModelKeeper(any_scene.settings())
    caplog.set_level(logging.INFO)
    for _ in range(2):
        lose_models(any_scene)
        keeper.turn()
        keeper.turn()
        assert any_scene.serving() == {"1.0"}
        assert all(host.registered["toy"]["1.0"].ready_workers for host in any_scene.hosts.values())
    assert caplog.text.count("toy 1.0 serves again") == 2
    assert not [said for said in caplog.messages if "is not restored" in said or "nothing is restored" in said]
    journals = [said for said in caplog.messages if "is restored without a journal" in said]
    assert len(journals) == 2 * len(any_scene.hosts)
    assert caplog.text.count("the state folder cannot be written") <= 1
    beats = [path.stat().st_mtime for path in heartbeats(any_scene.settings()) if path.exists()]
    assert time.time() - max(beats) < 60


def test_keeper_writes_again_once_it_can(any_scene: Scene, disk: SmallDisk, caplog: pytest.LogCaptureFixture) -> None:
    keeper, state_beat = ModelKeeper(any_scene.settings()), heartbeats(any_scene.settings())[0]
    keeper.turn()
    disk.read_only()
    keeper.turn()
    written = state_beat.stat().st_mtime_ns
    disk.writable()
    lose_models(any_scene)
    caplog.clear()
    keeper.turn()
    assert state_beat.stat().st_mtime_ns > written
    assert "without a journal" not in caplog.text
    assert_settled(any_scene, "1.0")


@pytest.mark.parametrize("close", CLOSED, ids=["full", "read-only"])
def test_restore_needs_no_lock_file(any_scene: Scene, disk: SmallDisk, close: Callable[[SmallDisk], None]) -> None:
    (any_scene.state / "rollouts" / "toy.lock").unlink()
    close(disk)
    lose_models(any_scene)
    restored = restore_model("toy", any_scene.settings())
    assert restored is not None
    assert restored.version == "1.0"
    assert any_scene.serving() == {"1.0"}


def test_restore_that_was_killed_without_a_journal_is_done_again(any_scene: Scene, disk: SmallDisk) -> None:
    disk.fill()
    lose_models(any_scene)
    for host in any_scene.hosts.values():
        host.register("toy", "toy-1.0.mar", RegistrationSettings(batch_size=1, max_batch_delay=0, initial_workers=1), 9)
    ModelKeeper(any_scene.settings()).turn()
    assert any_scene.serving() == {"1.0"}
    assert all(host.registered["toy"]["1.0"].ready_workers for host in any_scene.hosts.values())


def test_restore_that_fails_on_a_full_disk_is_undone(any_scene: Scene, disk: SmallDisk) -> None:
    disk.fill()
    lose_models(any_scene)
    with pytest.MonkeyPatch.context() as patch:
        for host in any_scene.hosts.values():
            patch.setattr(host, "warm", lambda *given: False)
        with pytest.raises(RolloutError, match="not every worker answered"):
            restore_model("toy", any_scene.settings())
    assert any_scene.serving() == {"nothing"}
    restore_model("toy", any_scene.settings())
    assert_settled(any_scene, "1.0")


@contextmanager
def filling_at(scene: Scene, disk: SmallDisk, method: str) -> Iterator[None]:
    """Within the block, the disk is full as soon as a host has done this."""
    with pytest.MonkeyPatch.context() as patch:
        _fill_after(scene, disk, method, patch)
        yield


def _fill_after(scene: Scene, disk: SmallDisk, method: str, patch: pytest.MonkeyPatch) -> None:
    for host in scene.hosts.values():
        real = getattr(host, method)

        def then_full(*given: object, real: Callable[..., object] = real) -> object:
            done = real(*given)
            disk.free()
            disk.fill()
            return done

        patch.setattr(host, method, then_full)


@pytest.mark.parametrize("moment", ["register", "scale", "warm"])
def test_rollout_whose_disk_fills_is_undone_from_memory(
    any_scene: Scene, disk: SmallDisk, moment: str, caplog: pytest.LogCaptureFixture
) -> None:
    with filling_at(any_scene, disk, moment), pytest.raises(RolloutError, match=r"toy 1\.1 was not rolled out"):
        any_scene.upload(1)
    assert "toy 1.1" in caplog.text
    assert "is undone without its journal" in caplog.text
    assert_settled(any_scene, "1.0")
    assert any_scene.stored() == {"toy-1.0.mar"}


@pytest.mark.parametrize("moment", ["register", "scale", "warm", "set_default"])
def test_rollout_that_was_killed_on_a_full_disk_is_undone_when_the_models_come_back(
    any_scene: Scene, disk: SmallDisk, moment: str
) -> None:
    class Killed(BaseException):
        """As if by SIGKILL: nothing after it runs."""

    def killed(*given: object) -> object:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("delivery.replacement._Rollout.undo", lambda *given: None)
        for host in any_scene.hosts.values():
            patch.setattr(host, moment, killed)
        with pytest.raises(Killed):
            any_scene.upload(1)
    assert any_scene.litter() != []
    disk.fill()
    lose_models(any_scene)
    ModelKeeper(any_scene.settings()).turn()
    assert_settled(any_scene, "1.0")
    disk.free()
    assert any_scene.upload(1).version == "1.2"  # the number of the killed one is not used again


@pytest.mark.parametrize("moment", ["set_default", "drain"])
def test_disk_that_fills_after_the_switch_keeps_a_version_serving(
    any_scene: Scene, disk: SmallDisk, moment: str
) -> None:
    with filling_at(any_scene, disk, moment), pytest.raises(RolloutError):
        any_scene.upload(1)
    assert len(any_scene.serving()) == 1
    lose_models(any_scene)
    ModelKeeper(any_scene.settings()).turn()
    assert any_scene.serving() == {any_scene.history()[0]}
    disk.free()
    assert any_scene.upload(1).version in {"1.1", "1.2"}
    assert_settled(any_scene, any_scene.history()[0])


def test_share_of_a_killed_trial_is_withdrawn_on_a_full_disk(scene: Scene) -> None:
    with small_disk(scene.state, kind="ext4") as disk:
        scene.upload(0)
        traffic = TrafficFile.of(scene.settings())
        split = TrafficSplit(
            stable="1.0",
            trial="1.1",
            weight=0.5,
            sticky_header=None,
            copies=0,
            max_copies=1,
            copy_timeout_s=1,
            tolerance=0,
            until=time.time() + 60,
        )
        traffic.put("toy", split)
        disk.fill()
        lose_models(scene)
        ModelKeeper(scene.settings()).turn()
        assert scene.serving() == {"1.0"}
        assert traffic.all() == {}


def test_rollback_on_a_full_disk_changes_nothing(any_scene: Scene, disk: SmallDisk) -> None:
    any_scene.upload(1)
    disk.fill()
    with pytest.raises(RolloutError, match=r"toy 1\.0 was not rolled out.*No space left on device"):
        roll_back("toy", any_scene.settings())
    disk.free()
    assert_settled(any_scene, "1.1")


def test_more_workers_start_although_they_cannot_be_recorded(
    any_scene: Scene, disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    disk.fill()
    resize("toy", 3, any_scene.settings())
    assert {host.registered["toy"]["1.0"].ready_workers for host in any_scene.hosts.values()} == {3}
    assert "toy 1.0 has these workers only until its engine restarts: " in caplog.text
    with pytest.raises(RolloutError, match="No space left on device"):
        resize("toy", 1, any_scene.settings())
    assert any_scene.serving() == {"1.0"}


def test_process_that_creates_the_lock_waits_for_a_restore_that_could_not(tmp_path: Path) -> None:
    with small_disk(tmp_path, kind="ext4") as disk:
        disk.read_only()
        with file_lock(tmp_path / "toy.lock", create=False):
            disk.writable()
            waiting: list[str] = []

            def create() -> None:
                with file_lock(tmp_path / "toy.lock"):
                    waiting.append("created")

            thread = Thread(target=create)
            thread.start()
            thread.join(0.3)
            assert waiting == []
        thread.join(10)
        assert waiting == ["created"]
