"""A trial or a promotion that is killed at any moment is undone or ended by the next rollout."""

import signal
from pathlib import Path

import pytest

from delivery.journal import Step
from deployments.traffic import TrafficFile
from settings import Settings
from tests.e2e.clients import asking
from tests.e2e.conftest import Stack
from tests.e2e.trials import CANARY, QUICK, SHADOW, assert_no_trace_is_left, during, serving_column
from tests.e2e.uploads import DELAY, kill_upload, registered
from tests.polling import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("step", "settled"), [(Step.CANARY, CANARY), (Step.SHADOW, SHADOW)])
def test_a_trial_killed_at_its_start_is_undone_by_the_next_rollout(
    stack: Stack, kept: list[Path], settings: Settings, step: Step, settled: tuple[str, ...], when: str
) -> None:
    [before] = registered(settings)
    kill_upload(stack, when, step, *settled, f"{DELAY}=2")
    stack.run("upload_model.py", "served_model=cartpole", *QUICK, f"{DELAY}={before.max_batch_delay}")
    assert registered(settings) == [before]
    assert_no_trace_is_left(settings, stack, kept)


@pytest.mark.parametrize("step", [Step.SWITCH, Step.WATCH, Step.RECORD, Step.DRAIN, Step.REMOVE])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_promotion_killed_at_any_step_is_ended_by_the_next_rollout(
    stack: Stack, settings: Settings, step: Step, when: str
) -> None:
    [before] = registered(settings)
    with asking(stack.predict_url("cartpole")) as answers:
        kill_upload(stack, when, step, *CANARY, f"{DELAY}={before.max_batch_delay + 1}")
        stack.run("upload_model.py", "served_model=cartpole", *QUICK, f"{DELAY}={before.max_batch_delay}")
    assert answers.statuses == {200}
    assert TrafficFile.of(settings).all() == {}
    assert len(registered(settings)) == 1


def test_an_upload_killed_in_the_midst_of_its_canary_loses_no_request(
    stack: Stack, kept: list[Path], settings: Settings
) -> None:
    [before] = registered(settings)
    with asking(stack.predict_url("cartpole")) as answers:
        upload = stack.start("upload_model.py", "served_model=cartpole", *CANARY, "canary.minutes=5", f"{DELAY}=2")
        during(upload.poll, lambda: serving_column(settings))
        new = next(each.version for each in registered(settings) if each.version != before.version)
        wait_for(lambda: (200, new) in answers.kinds)
        upload.send_signal(signal.SIGKILL)
        upload.communicate()
        stack.run("upload_model.py", "served_model=cartpole", *QUICK, f"{DELAY}={before.max_batch_delay}")
    assert answers.statuses == {200}
    assert answers.seen[-1].version == before.version
    assert registered(settings) == [before]
    assert_no_trace_is_left(settings, stack, kept)
