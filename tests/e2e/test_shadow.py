"""A new version proves itself on copies of the traffic, of which no client ever sees an answer."""

from pathlib import Path

import pytest

from settings import Settings
from tests.e2e.clients import asking
from tests.e2e.conftest import Stack
from tests.e2e.trials import SHADOW, assert_no_trace_is_left, broken_later
from tests.e2e.uploads import DELAY, registered

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.parametrize("how", ["fails", "is slow", "hangs", "dies", "disagrees"])
def test_a_shadow_of_any_kind_is_not_noticed_by_clients(
    stack: Stack, kept: list[Path], settings: Settings, tmp_path: Path, how: str
) -> None:
    [before] = registered(settings)
    changed = broken_later(stack, tmp_path, how)
    slow = ("canary.max_latency_ratio=1.5", "shadow.minutes=0.5") if how == "is slow" else ()
    with asking(stack.predict_url("cartpole")) as answers:
        more = (*SHADOW, *changed, "shadow.timeout_s=1", *slow)
        printed = stack.run("upload_model.py", "served_model=cartpole", *more, status=1)
    assert "was withdrawn: " in printed.splitlines()[-1]
    assert answers.kinds == {(200, before.version)}
    assert registered(settings) == [before]
    assert_no_trace_is_left(settings, stack, kept)


def test_a_shadow_that_is_only_looked_at_reports_and_goes(stack: Stack, kept: list[Path], settings: Settings) -> None:
    [before] = registered(settings)
    with asking(stack.predict_url("cartpole")) as answers:
        printed = stack.run("upload_model.py", "served_model=cartpole", *SHADOW, "shadow.only=true", f"{DELAY}=2")
    assert "was tried out only" in printed.splitlines()[-1]
    assert printed.splitlines()[-1].endswith(f"{before.version} serves as before")
    assert "copies: " in printed
    assert answers.kinds == {(200, before.version)}
    assert registered(settings) == [before]
    assert_no_trace_is_left(settings, stack, kept)
