"""What a rollout that was killed, or whose hosts went away, leaves to the next one."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from delivery import replacement
from delivery.__main__ import main
from delivery.journal import Journal, Step
from delivery.rollout import restore, restore_models, roll_back, roll_out
from delivery.steps import HostRollout
from deployments.traffic import LiveVersions, TrafficFile
from errors import EngineError, RolloutError
from tests.archive.made import CONTENTS, archive_at, named
from tests.delivery.conftest import Scene
from tests.delivery.engine_in_memory import HostInMemory
from tests.ports import free_port
from tests.settings.splits import given_split

MANIFEST_1_9 = CONTENTS["MAR-INF/MANIFEST.json"].replace(b'"1.0"', b'"1.9"')


def raising(error: type[BaseException]) -> Callable[..., object]:
    def fail(*_: object) -> object:
        raise error

    return fail


@pytest.fixture
def killed_after_its_switch(any_scene: Scene) -> Scene:
    """A stack with version 1.0, whose upload of 1.1 ended when all hosts had switched and none had settled."""
    any_scene.upload(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HostRollout, "finalize", raising(SystemExit))
        with pytest.raises(SystemExit):
            any_scene.upload(1)
    return any_scene


def journals(scene: Scene) -> list[Step]:
    nodes = scene.hosts if len(scene.hosts) > 1 else [""]
    found = [Journal.of(scene.settings(), "toy", node).read() for node in nodes]
    return [entry.step for entry in found if entry is not None]


def assert_serves(scene: Scene, version: str, *before: str) -> None:
    assert scene.serving() == {version}
    assert scene.history() == [version, *before]
    assert all(len(host.versions("toy")) == 1 for host in scene.hosts.values())
    assert LiveVersions.of(scene.settings(), "toy").get() == ([version] if len(scene.hosts) > 1 else [])
    assert scene.litter() == []


def test_recover_killed_after_the_switch_is_finished(
    killed_after_its_switch: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene = killed_after_its_switch
    assert journals(scene) == [Step.SWITCH] * len(scene.hosts)
    restore(scene.settings())
    assert_serves(scene, "1.1", "1.0")
    assert caplog.text.count("finish toy 1.1") == len(scene.hosts)


def test_recover_killed_after_the_switch_without_archive_is_undone(
    killed_after_its_switch: Scene,
) -> None:
    scene = killed_after_its_switch
    (scene.store / "toy-1.1.mar").unlink()
    assert scene.upload(2).version == "1.2"
    assert_serves(scene, "1.2", "1.0")


def goes_away(host: HostInMemory, patch: pytest.MonkeyPatch, method: str) -> None:
    """From this call on, the host answers nothing until the patch ends."""

    def away(*_: object, **__: object) -> None:
        raise EngineError("no answer")

    def last(*_: object, **__: object) -> None:
        for name in ("find", "versions", "set_default", "unregister"):
            patch.setattr(host, name, away)
        patch.setattr(host, "answers", lambda: False)
        away()

    patch.setattr(host, method, last)


def test_roll_out_all_hosts_go_away_keeps_a_journal(any_scene: Scene) -> None:
    any_scene.upload(0)
    with pytest.MonkeyPatch.context() as patch:
        for host in any_scene.hosts.values():
            goes_away(host, patch, "scale")
        with pytest.raises(RolloutError, match=r"toy 1\.1 was not rolled out: (b: )?no answer"):
            any_scene.upload(1)
    assert journals(any_scene) == [Step.TAKE_BACK]
    restore(any_scene.settings())
    assert_serves(any_scene, "1.0")
    assert any_scene.stored() == {"toy-1.0.mar"}


def test_roll_out_one_host_goes_away_is_left_behind(two_hosts: Scene, caplog: pytest.LogCaptureFixture) -> None:
    two_hosts.upload(0)
    with pytest.MonkeyPatch.context() as patch:
        goes_away(two_hosts.hosts["a"], patch, "set_default")
        assert two_hosts.upload(1).version == "1.1"
    assert "a no longer answers; it gets this version when it returns" in caplog.text
    assert two_hosts.serving() == {"1.0", "1.1"}
    [result] = restore(two_hosts.settings())
    assert (result.version, result.where) == ("1.1", "a")
    assert_serves(two_hosts, "1.1", "1.0")
    assert roll_back("toy", two_hosts.settings()).version == "1.0"
    assert_serves(two_hosts, "1.0", "1.1")


def test_recover_killed_between_two_switches_is_undone(two_hosts: Scene) -> None:
    two_hosts.upload(0)
    live = LiveVersions.of(two_hosts.settings(), "toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replacement._Rollout, "undo", lambda *_: None)
        patch.setattr(two_hosts.hosts["b"], "set_default", raising(SystemExit))
        with pytest.raises(SystemExit):
            two_hosts.upload(1)
    assert live.get() == ["1.0", "1.1"]
    assert two_hosts.serving() == {"1.0", "1.1"}
    restore(two_hosts.settings())
    assert_serves(two_hosts, "1.0")


def test_recover_version_without_traffic_and_journal_is_removed(scene: Scene) -> None:
    scene.upload(0)
    host = scene.hosts["engine"]
    archive_at(scene.store / "toy-1.9.mar", {**CONTENTS, "MAR-INF/MANIFEST.json": MANIFEST_1_9})
    host.register("toy", "toy-1.9.mar", scene.settings().served_model.request_params, 1)
    restore(scene.settings())
    assert_serves(scene, "1.0")


def test_recover_split_that_belongs_to_no_trial_is_removed(any_scene: Scene) -> None:
    any_scene.upload(0)
    traffic = TrafficFile.of(any_scene.settings())
    traffic.put("toy", given_split())
    restore(any_scene.settings())
    assert traffic.all() == {}


def test_roll_out_is_watched_and_restore_is_not(two_hosts: Scene) -> None:
    watched = {"watch_s": 0.2}
    gateway = {"port": free_port()}
    two_hosts.upload(0)
    with pytest.raises(RolloutError, match=r"rollout\.watch_s=0 rolls out without a watch"):
        two_hosts.upload(1, rollout=watched, gateway=gateway)
    with pytest.MonkeyPatch.context() as patch:
        goes_away(two_hosts.hosts["a"], patch, "set_default")
        two_hosts.upload(2)
    assert two_hosts.serving() == {"1.0", "1.1"}
    assert restore(two_hosts.settings(rollout=watched, gateway=gateway))
    assert_serves(two_hosts, "1.1", "1.0")


def test_restore_of_several_models_runs_at_once_and_past_one_that_fails(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("one", "two", "bad", "three"):
        archive_at(scene.built, named(name))
        roll_out(scene.built, scene.settings())
    before = (scene.state / "serving.json").read_bytes()
    host, all_fetch = scene.hosts["engine"], threading.Barrier(4, timeout=60)
    host.forget()

    def fetch(archive: Path) -> None:
        all_fetch.wait()  # raises where they follow each other
        if archive.name == "bad-1.0.mar":
            raise EngineError("no answer")

    host.before_fetch = fetch
    assert [result.model for result in restore(scene.settings())] == ["one", "two", "three"]
    assert "bad is not restored: bad 1.0 was not rolled out: no answer" in caplog.text
    assert host.models() == ["one", "three", "two"]
    assert (scene.state / "serving.json").read_bytes() == before
    assert scene.litter() == []


def test_restore_goes_past_a_fault_that_nobody_expected(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("bad", "one"):
        archive_at(scene.built, named(name))
        roll_out(scene.built, scene.settings())
    host = scene.hosts["engine"]
    host.forget()

    def fetch(archive: Path) -> None:
        if archive.name == "bad-1.0.mar":
            raise PermissionError("odd")

    host.before_fetch = fetch
    outcomes = dict(restore_models(["bad", "one"], scene.settings()))
    assert isinstance(outcomes["bad"], RolloutError)
    assert str(outcomes["bad"]) == "bad is not restored: PermissionError('odd')"
    assert "PermissionError: odd" in caplog.text
    assert host.models() == ["one"]


def test_restore_command_fails_with_a_model_and_says_so(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "bad"):
        archive_at(scene.built, named(name))
        roll_out(scene.built, scene.settings())
    words = ["restore", "store=local", f"paths.state={scene.state}", f"store.folder={scene.store}"]
    assert main(words) == 0
    assert capsys.readouterr().out == "everything that is recorded serves already\n"
    scene.hosts["engine"].forget()
    archive = (scene.store / "bad-1.0.mar").rename(scene.folder / "bad.mar")
    assert main(words) == 1
    assert capsys.readouterr().out == "one 1.0 serves again\n"
    assert main(words) == 1
    assert capsys.readouterr().out == ""
    archive.rename(scene.store / "bad-1.0.mar")
    assert main(words) == 0
    assert capsys.readouterr().out == "bad 1.0 serves again\n"
