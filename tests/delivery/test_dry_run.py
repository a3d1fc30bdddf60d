"""A dry run says what a rollout would do, and changes nothing."""

import pytest

from delivery.steps import HostRollout
from tests.delivery.conftest import Scene


def plan(scene: Scene, delay: int, **groups: dict[str, object]) -> list[str]:
    before = scene.serving(), scene.history(), scene.stored(), scene.litter()
    found = scene.upload(delay, rollout={"dry_run": True, "watch_s": 5}, **groups)
    assert (found.changed, found.where) == (False, "")
    assert (scene.serving(), scene.history(), scene.stored(), scene.litter()) == before
    return list(found.plan)


def test_plan_first_version(any_scene: Scene) -> None:
    steps = plan(any_scene, 3)
    on = " on a, b" if len(any_scene.hosts) > 1 else ""
    assert steps[0].startswith("publish toy-1.0.mar (")
    assert steps[1].startswith(f"register it without traffic{on}: batch_size ")
    assert steps[1].endswith("max_batch_delay 3 ms")
    assert steps[-1] == "send all traffic to 1.0, the first version"


def test_plan_next_version_switches_and_removes_the_old_one(any_scene: Scene) -> None:
    any_scene.upload(0)
    steps = plan(any_scene, 3)
    one_by_one = " on one host after the other" if len(any_scene.hosts) > 1 else ""
    assert steps[-2] == f"switch from 1.0 to 1.1{one_by_one}, watch it for 5 s"
    assert steps[-1].startswith("drain 1.0 for at most ")


def test_plan_same_content_and_settings_does_nothing(any_scene: Scene) -> None:
    any_scene.upload(0)
    assert plan(any_scene, 0) == ["do nothing else: 1.0 serves it already"]


def test_plan_same_content_names_hosts_that_are_behind(two_hosts: Scene) -> None:
    two_hosts.upload(0)
    two_hosts.hosts["b"].forget()
    assert plan(two_hosts, 0) == ["bring 1.0 to b; now a: 1.0, b: nothing"]


def test_plan_trial_is_named_between_check_and_switch(scene: Scene) -> None:
    scene.upload(0)
    canary = plan(scene, 3, canary={"weight": 0.1, "minutes": 2.0})
    assert canary[-3] == "have 1.1 answer 0.1 of the requests for 2 min"
    only = plan(scene, 3, shadow={"share": 0.5, "minutes": 2.0, "only": True})
    assert only[-1] == "report, remove 1.1 again and keep 1.0"


def test_plan_interrupted_rollout_is_finished_first(any_scene: Scene) -> None:
    any_scene.upload(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HostRollout, "finalize", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            any_scene.upload(1)
    assert plan(any_scene, 2)[0] == "finish the rollout of toy 1.1 that was interrupted at its step 'switch'"
