"""A rollout that is killed at any step is ended by the next one, and says what it does."""

import json
from pathlib import Path

import pytest
import requests

from delivery.journal import Step
from deployments.serving import ServingRecord
from settings import Settings
from tests.e2e.conftest import Stack
from tests.e2e.uploads import DELAY, QUICK, kill_upload, registered

pytestmark = pytest.mark.e2e
STATE = {"cart_position": 0.0, "cart_velocity": 0.0, "pole_angle": 0.1, "pole_angular_velocity": 0.5}
TRIAL = {Step.SHADOW, Step.CANARY}  # only on demand: test_canary.py


def ask(stack: Stack) -> str:
    answer = requests.post(f"{stack.gateway}/models/cartpole/predict", json=STATE, timeout=30)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["version"])


def assert_nothing_is_left_over(settings: Settings, stack: Stack) -> None:
    [only] = registered(settings)
    assert only.ready_workers == settings.served_model.request_params.initial_workers
    history = ServingRecord.of(settings).get("cartpole")
    assert history is not None
    assert history.serving.version == only.version == ask(stack)
    published = {history.serving.archive, *(served.archive for served in history.before)}
    known = {"cartpole.mar", *published, *(name.replace(".mar", ".json") for name in published)}
    found = {file.name for file in stack.archives.iterdir() if file.name.startswith((".", "cartpole"))}
    assert found <= known
    rollouts = sorted(file.name for file in (stack.state / "rollouts").iterdir() if file.name.startswith((".", "cart")))
    assert rollouts == ["cartpole.lock"]


def killed_and_ended(stack: Stack, settings: Settings, when: str, step: Step) -> None:
    serving = ask(stack)
    [before] = registered(settings)
    kill_upload(stack, when, step, f"{DELAY}={before.max_batch_delay + 1}")
    assert ask(stack)
    assert (step == Step.PUBLISH and when == "before") == (not (stack.state / "rollouts" / "cartpole.json").exists())
    # What serves next are the settings that served before: so a rollout that was undone has nothing to change.
    printed = stack.run("upload_model.py", "served_model=cartpole", *QUICK, f"{DELAY}={before.max_batch_delay}")
    assert "cartpole" in printed.splitlines()[-1]
    assert_nothing_is_left_over(settings, stack)
    switched = list(Step).index(step) > list(Step).index(Step.SWITCH) - (when == "before" and step != Step.SWITCH)
    if not switched:
        assert "serves already" in printed
        assert ask(stack) == serving


def test_a_rollout_killed_after_its_switch_is_finished_by_the_next_one(stack: Stack, settings: Settings) -> None:
    killed_and_ended(stack, settings, "after", Step.WATCH)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", [step for step in Step if step not in TRIAL | {Step.TAKE_BACK}])
def test_a_rollout_killed_at_any_step_is_ended_by_the_next_one(
    stack: Stack, settings: Settings, step: Step, when: str
) -> None:
    killed_and_ended(stack, settings, when, step)


def test_a_dry_run_says_what_would_happen_and_changes_nothing(stack: Stack, settings: Settings) -> None:
    before = registered(settings)
    files = sorted(stack.archives.iterdir())
    printed = stack.run("upload_model.py", "served_model=cartpole", "rollout.dry_run=true", f"{DELAY}=77")
    assert "would register it without traffic: batch_size 16, max_batch_delay 77 ms" in printed
    assert f"would switch from {before[0].version} to " in printed
    assert printed.splitlines()[-1] == "cartpole: dry run, nothing was changed"
    assert registered(settings) == before
    assert sorted(stack.archives.iterdir()) == files
    printed = stack.run("upload_model.py", "served_model=cartpole", "rollout.dry_run=true")
    assert "serves it already" in printed


def test_the_table_of_models_shows_what_is_registered(stack: Stack, settings: Settings) -> None:
    [found] = registered(settings)
    head, *rows = stack.run("-m", "delivery", "models").splitlines()
    assert head.split()[:6] == ["model", "version", "serves", "weights", "workers", "queue"]
    [row] = [row.split() for row in rows if row.startswith("cartpole")]
    assert row[1:9] == [found.version, "yes", "trained", "1/1", "0", str(found.batch_size), "1", "ms"]
    assert any(row.startswith("digits") for row in rows)


def test_a_damaged_journal_is_named(stack: Stack, settings: Settings) -> None:
    path = stack.state / "rollouts" / "cartpole.json"
    path.write_text(json.dumps({"model": "cartpole"}))
    try:
        printed = stack.run("upload_model.py", "served_model=cartpole", status=1)
    finally:
        Path(path).unlink()
    assert "cartpole.json is damaged" in printed.splitlines()[-1]
