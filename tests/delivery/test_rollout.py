"""A rollout runs the trial that the settings ask for, between the checks of a version and its switch."""

from dataclasses import replace

import pytest

from delivery import steps
from delivery.journal import Journal, JournalEntry, Step
from delivery.rollout import restore, roll_back
from deployments.serving import ServingRecord, VersionHistory, serving_file
from deployments.traffic import TrafficFile
from engines.torchserve.engine_client import EngineClient
from errors import ConfigError, RolloutError
from settings import Settings
from tests.delivery.conftest import Scene

CANARY = {"weight": 0.1}
SHADOW_ONLY = {"share": 0.5, "only": True}


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[JournalEntry]:
    """The rollouts whose trial has run; each passes it."""
    found: list[JournalEntry] = []

    def run(engine: EngineClient, traffic: TrafficFile, settings: Settings, entry: JournalEntry) -> None:
        registered = engine.find(entry.model, entry.new.version)
        assert registered is not None
        assert registered.ready_workers == entry.new.initial_workers
        found.append(entry)

    monkeypatch.setattr(steps, "run_trial", run)
    return found


def test_roll_out_response_timeout_that_is_set_changed_or_taken_away_makes_a_new_version(scene: Scene) -> None:
    for timeout, version in ((None, "1.0"), (120, "1.1"), (30, "1.2"), (None, "1.3")):
        found = scene.upload(0, request_params={"response_timeout": timeout})
        assert (found.version, found.changed) == (version, True)
        again = scene.upload(0, request_params={"response_timeout": timeout})
        assert (again.version, again.changed) == (version, False)


def test_roll_out_first_version_has_no_trial(scene: Scene, trials: list[JournalEntry]) -> None:
    assert scene.upload(0, canary=CANARY).version == "1.0"
    assert trials == []


def test_roll_out_takes_no_name_that_an_archive_of_others_has_in_the_model_store(scene: Scene) -> None:
    theirs = scene.state / "model_store" / "toy-1.1.mar"
    theirs.parent.mkdir()
    theirs.write_bytes(b"theirs")
    assert [scene.upload(delay).version for delay in (0, 1)] == ["1.2", "1.3"]
    assert theirs.read_bytes() == b"theirs"


def test_roll_out_replaces_a_version_that_others_registered_from_a_file_of_the_same_name(scene: Scene) -> None:
    scene.upload(0)
    (scene.store / "toy-1.0.mar").rename(scene.store / "toy.mar")
    versions = scene.hosts["engine"].registered["toy"]
    versions["1.0"] = replace(versions["1.0"], url="toy.mar")
    ServingRecord.of(scene.settings()).forget("toy")
    assert scene.upload(0).changed
    assert (scene.serving(), scene.history()) == ({"1.1"}, ["1.1"])


def test_roll_out_of_a_version_that_serves_without_a_record_records_it(any_scene: Scene) -> None:
    any_scene.upload(1)
    serving_file(any_scene.settings()).unlink()
    again = any_scene.upload(1)
    assert (again.version, again.changed, any_scene.history()) == ("1.0", False, ["1.0"])
    for host in any_scene.hosts.values():
        host.forget()
    assert [result.version for result in restore(any_scene.settings())] == ["1.0"]
    any_scene.upload(2)
    assert roll_back("toy", any_scene.settings()).version == "1.0"


def test_roll_out_of_a_version_that_serves_beside_a_record_of_another_one_makes_a_new_version(scene: Scene) -> None:
    scene.upload(1)
    scene.upload(2)
    record = ServingRecord.of(scene.settings())
    served = record.all()["toy"]
    record.put("toy", VersionHistory(served.before[0]))
    assert (scene.upload(2).version, scene.history()) == ("1.2", ["1.2", "1.0"])


def test_roll_out_canary_runs_before_the_switch(scene: Scene, trials: list[JournalEntry]) -> None:
    scene.upload(0)
    assert scene.upload(1, canary=CANARY).changed
    [entry] = trials
    assert (entry.step, entry.old, entry.new.version) == (Step.CANARY, "1.0", "1.1")
    assert (scene.serving(), scene.history()) == ({"1.1"}, ["1.1", "1.0"])


def test_roll_out_shadow_only_removes_the_version_again(scene: Scene, trials: list[JournalEntry]) -> None:
    scene.upload(0)
    found = scene.upload(1, shadow=SHADOW_ONLY)
    assert (found.version, found.observed, found.changed) == ("1.0", "1.1", False)
    assert [entry.step for entry in trials] == [Step.SHADOW]
    assert (scene.serving(), scene.history(), scene.stored()) == ({"1.0"}, ["1.0"], {"toy-1.0.mar"})
    assert scene.litter() == []
    assert len(scene.hosts["engine"].versions("toy")) == 1


def test_roll_out_failed_trial_withdraws_the_version(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        assert Journal.of(scene.settings(), "toy").read() is not None
        raise RolloutError("too slow")

    monkeypatch.setattr(steps, "run_trial", fail)
    monkeypatch.setattr(steps, "FOLLOWED_S", 0)
    scene.upload(0)
    with pytest.raises(RolloutError, match=r"toy 1\.1 was withdrawn: too slow; version 1\.0 serves as before"):
        scene.upload(1, canary=CANARY)
    assert (scene.serving(), scene.stored(), scene.litter()) == ({"1.0"}, {"toy-1.0.mar"}, [])


def test_roll_out_trial_on_several_hosts_is_refused(two_hosts: Scene) -> None:
    two_hosts.upload(0)
    with pytest.raises(ConfigError, match=r"a canary tries a version out on one engine host"):
        two_hosts.upload(1, canary=CANARY)
