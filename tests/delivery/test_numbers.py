"""Rollouts one after the other: each has a number of its own, and `keep_versions` former ones can be gone back to."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import upload_model
from archive import Archive, TrustPolicy, open_archive, open_trusted, stamp
from delivery import rollout
from delivery.__main__ import main as delivery_program
from delivery.autoscaler import resize
from delivery.declare import publish_only
from delivery.rollout import remove, restore, roll_back, roll_out
from errors import MarinaError, RolloutError
from tests.archive.made import CONTENTS, archive_at
from tests.delivery.conftest import Scene

KEPT = 3  # rollout.keep_versions as it is configured


def numbered(*numbers: int) -> list[str]:
    return [f"1.{number}" for number in numbers]


def archives(*numbers: int) -> set[str]:
    return {f"toy-1.{number}.mar" for number in numbers}


def test_roll_out_ten_times_numbers_each_and_rolls_back_to_the_last(any_scene: Scene) -> None:
    assert [any_scene.upload(delay).version for delay in range(10)] == numbered(*range(10))
    assert any_scene.history() == numbered(9, 8, 7, 6)
    assert any_scene.stored() == archives(9, 8, 7, 6)
    for number in (8, 7, 6):
        assert roll_back("toy", any_scene.settings()).version == f"1.{number}"
        assert any_scene.serving() == {f"1.{number}"}
    for host in any_scene.hosts.values():
        found = host.default("toy")
        assert found is not None
        assert found.max_batch_delay == 6
    assert any_scene.litter() == []


def test_roll_back_ten_times_keeps_the_number_of_predecessors(any_scene: Scene) -> None:
    for delay in range(KEPT + 1):
        any_scene.upload(delay)
    seen = [roll_back("toy", any_scene.settings()).version for _ in range(10)]
    assert seen == numbered(2, 1, 0, 3, 2, 1, 0, 3, 2, 1)
    assert len(any_scene.history()) == KEPT + 1
    assert any_scene.stored() == archives(0, 1, 2, 3)


def test_roll_back_two_versions_alternate(scene: Scene) -> None:
    scene.upload(0)
    scene.upload(1)
    assert [roll_back("toy", scene.settings()).version for _ in range(4)] == numbered(0, 1, 0, 1)


def test_roll_out_after_rollback_gets_a_new_number(any_scene: Scene) -> None:
    for delay in (0, 1, 2, 1):
        any_scene.upload(delay)
    roll_back("toy", any_scene.settings())
    assert any_scene.upload(7).version == "1.4"
    assert roll_back("toy", any_scene.settings()).version == "1.2"


def test_roll_out_same_content_and_settings_changes_nothing(any_scene: Scene) -> None:
    any_scene.upload(1)
    again = any_scene.upload(1)
    assert (again.version, again.changed) == ("1.0", False)
    assert any_scene.stored() == archives(0)


def test_roll_out_former_content_gets_a_new_number(any_scene: Scene) -> None:
    assert [any_scene.upload(delay).version for delay in (1, 2, 1, 2)] == numbered(0, 1, 2, 3)


def test_remove_deletes_archives_and_keeps_numbers(any_scene: Scene) -> None:
    any_scene.upload(0)
    any_scene.upload(1)
    remove("toy", any_scene.settings())
    assert (any_scene.serving(), any_scene.stored(), any_scene.history()) == ({"nothing"}, set(), [])
    assert any_scene.upload(0).version == "1.2"


def test_remove_of_a_recorded_model_that_the_engine_has_lost_ends_its_record(any_scene: Scene) -> None:
    any_scene.upload(0)
    for host in any_scene.hosts.values():
        host.forget()
    remove("toy", any_scene.settings())
    assert (any_scene.serving(), any_scene.stored(), any_scene.history()) == ({"nothing"}, set(), [])
    with pytest.raises(RolloutError, match="neither registered nor recorded"):
        remove("toy", any_scene.settings())


@pytest.mark.parametrize("restarted", [False, True])
def test_remove_that_was_killed_is_done_again(any_scene: Scene, restarted: bool) -> None:
    def killed(*_: object) -> None:
        raise SystemExit

    any_scene.upload(0)
    any_scene.upload(1)
    archive_at(any_scene.store / "toy-9.9.mar")  # of others
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollout, "_unregister_all", killed)
        with pytest.raises(SystemExit):
            remove("toy", any_scene.settings())
    for host in any_scene.hosts.values() if restarted else ():
        host.forget()
    remove("toy", any_scene.settings())
    assert (any_scene.serving(), any_scene.stored()) == ({"nothing"}, {"toy-9.9.mar"})


def test_restore_after_engine_restart_keeps_the_number(any_scene: Scene) -> None:
    any_scene.upload(0)
    for host in any_scene.hosts.values():
        host.forget()
    assert [outcome.version for outcome in restore(any_scene.settings())] == ["1.0"]
    assert any_scene.upload(1).version == "1.1"


def test_roll_out_taken_back_keeps_its_number(any_scene: Scene) -> None:
    any_scene.upload(0)
    for host in any_scene.hosts.values():
        host.warm = lambda *_: False  # type: ignore[method-assign]
    with pytest.raises(RolloutError, match="not every worker answered"):
        any_scene.upload(1)
    for host in any_scene.hosts.values():
        del host.warm
    assert any_scene.stored() == archives(0)
    assert any_scene.upload(1).version == "1.2"


def test_roll_out_without_versions_file_asks_store_record_and_engine(scene: Scene) -> None:
    for delay in range(6):
        scene.upload(delay)
    (scene.state / "versions.json").unlink()
    assert scene.upload(9).version == "1.6"
    shutil.rmtree(scene.state)
    scene.state.mkdir()
    assert scene.upload(10).version == "1.7"


def test_resize_fewer_workers_gets_a_number_that_rollback_skips(scene: Scene) -> None:
    scene.upload(0)
    scene.upload(1, request_params={"initial_workers": 2})
    resize("toy", 1, scene.settings())
    assert scene.history() == numbered(2, 0)
    assert scene.stored() == archives(0, 2)
    assert scene.upload(5).version == "1.3"


def publish(words: list[str]) -> int:
    return delivery_program(["publish", *words])


@pytest.mark.parametrize("program", [upload_model.main, publish])
def test_a_version_that_the_archive_does_not_have_is_refused(
    scene: Scene, program: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(scene.built, scene.built.with_name("cartpole.mar"))
    places = [f"paths.state={scene.state}", f"store.folder={scene.store}", f"paths.archives={scene.built.parent}"]
    words = ["served_model=cartpole", "store=local", *places, "served_model.version=2.0"]
    assert program(words) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "cartpole.mar is version 1.0, not 2.0; `make generate_mar MODEL=cartpole ARGS=served_mod" in line
    assert scene.stored() == set()


def test_publish_only_same_content_keeps_its_number(scene: Scene) -> None:
    places = {"archives": str(scene.built.parent)}
    settings = scene.settings(paths=places)
    shutil.copy(scene.built, scene.built.with_name("cartpole.mar"))
    assert [publish_only(scene.built, settings)[1] for _ in range(3)] == ["1.0"] * 3
    more = scene.settings(paths=places, request_params={"threads": 2})
    assert publish_only(scene.built, more)[1] == "1.1"
    assert scene.upload(1).version == "1.2"


def changed(path: Path) -> None:
    """Another archive of the kit under the published name: its own checksums hold."""
    archive = open_archive(path)
    stamp(archive, archive.version, path, {"threads": 7})


@pytest.mark.parametrize("act", [roll_back, lambda model, settings: restore(settings)])
def test_restore_changed_archive_is_refused(
    scene: Scene, act: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    scene.upload(0)
    scene.upload(1)
    for name in scene.stored():
        changed(scene.store / name)
    scene.hosts["engine"].forget()
    ran = len(scene.hosts["engine"].ran)
    said = ""
    try:
        act("toy", scene.settings())
    except MarinaError as error:
        said = str(error)
    assert "is not the archive that was published under this name" in said + caplog.text
    assert len(scene.hosts["engine"].ran) == ran


def test_roll_out_archive_changes_during_publish_is_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened_then_swapped(path: Path, policy: TrustPolicy) -> Archive:
        archive = open_trusted(path, policy)
        archive_at(scene.built, {**CONTENTS, "model.onnx": b"another"})
        return archive

    monkeypatch.setattr(rollout, "open_trusted", opened_then_swapped)
    with pytest.raises(RolloutError, match="was not rolled out"):
        roll_out(scene.built, scene.settings())
    assert scene.stored() == set()
    assert scene.litter() == []
