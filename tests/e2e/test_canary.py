"""A new version proves itself on a share of the traffic, and clients never notice when it does not."""

from itertools import pairwise
from pathlib import Path

import pytest
import requests

from deployments.traffic import TrafficFile
from settings import Settings
from tests.e2e.clients import asking
from tests.e2e.conftest import Stack
from tests.e2e.trials import CANARY, assert_no_trace_is_left, broken_later, during, report, serving_column
from tests.e2e.uploads import DELAY, registered

pytestmark = pytest.mark.e2e


def fallbacks(stack: Stack, version: str) -> float:
    """Requests that a version under trial left to the old one, as the gateway counts them."""
    lines = requests.get(f"{stack.gateway}/metrics", timeout=30).text.splitlines()
    counted = 'marina_gateway_fallbacks_total{model="cartpole",version="' + version + '"}'
    return sum(float(line.split()[-1]) for line in lines if line.startswith(counted))


def test_a_good_canary_is_promoted_and_can_be_gone_back_from(stack: Stack, settings: Settings) -> None:
    [before] = registered(settings)
    with asking(stack.predict_url("cartpole")) as answers:
        upload = stack.start("upload_model.py", "served_model=cartpole", *CANARY, "shadow.share=0.5", f"{DELAY}=2")
        shares = during(upload.poll, lambda: serving_column(settings))
        printed = upload.communicate()[0]
    assert upload.returncode == 0, printed
    [after] = registered(settings)
    assert printed.splitlines()[-1] == f"cartpole {after.version} serves now"
    assert answers.statuses == {200}
    assert {answer.version for answer in answers.seen} == {before.version, after.version}
    assert shares == {before.version: "0.7", after.version: "0.3"}
    told = report(settings, after.version)
    new, old = (sum(told["evidence"][side]["answers"].values()) for side in ("new", "old"))
    assert new / (new + old) == pytest.approx(0.3, abs=0.02)
    assert told["failed_because"] is None
    assert told["evidence"]["compared"]["differs"] == 0
    assert "p95" in printed
    assert TrafficFile.of(settings).all() == {}
    stack.run("-m", "delivery", "rollback", "served_model=cartpole")
    assert [found.version for found in registered(settings)] == [before.version]


@pytest.mark.parametrize(
    ("how", "words", "more"),
    [
        ("fails", "failed (5xx)", ()),
        pytest.param("dies", "", (), marks=pytest.mark.slow),
        pytest.param("hangs", "failed (5xx)", ("canary.minutes=1",), marks=pytest.mark.slow),
        pytest.param(
            "is slow", "its p95 is", ("canary.max_latency_ratio=1.5", "canary.minutes=0.5"), marks=pytest.mark.slow
        ),
        pytest.param("disagrees", "answers differ", ("shadow.share=1",), marks=pytest.mark.slow),
    ],
)
def test_a_bad_canary_is_withdrawn_and_no_client_pays_for_it(
    stack: Stack, kept: list[Path], settings: Settings, tmp_path: Path, how: str, words: str, more: tuple[str, ...]
) -> None:
    [before] = registered(settings)
    # A deadline of its own keeps a request off the shortcut, so it is sent only where its half is waited for.
    with asking(stack.predict_url("cartpole"), headers={"x-deadline-ms": "8000"} if how == "hangs" else {}) as answers:
        changed = broken_later(stack, tmp_path, how)
        printed = stack.run("upload_model.py", "served_model=cartpole", *CANARY, *changed, *more, status=1)
    last = printed.splitlines()[-1]
    assert "was withdrawn: " in last
    assert words in last
    assert last.endswith(f"version {before.version} serves as before")
    assert answers.statuses == {200}
    assert answers.seen[-1].version == before.version
    assert registered(settings) == [before]
    assert_no_trace_is_left(settings, stack, kept)


@pytest.mark.slow
def test_a_sticky_canary_keeps_each_client_on_its_side(stack: Stack, settings: Settings) -> None:
    [before] = registered(settings)
    sticky = ("canary.weight=0.5", "canary.sticky_header=x-user")
    with asking(stack.predict_url("cartpole"), clients=12, headers={"x-user": "user {}"}) as answers:
        printed = stack.run("upload_model.py", "served_model=cartpole", *CANARY, *sticky, f"{DELAY}=2")
    [after] = registered(settings)
    assert "serves now" in printed
    assert answers.statuses == {200}
    told = report(settings, after.version)
    assert sum(told["evidence"]["new"]["answers"].values()) > 20
    went_back = 0
    for number in range(12):
        own = [answer.version for answer in answers.seen if answer.client == number]
        went_back += sum(last != before.version and now == before.version for last, now in pairwise(own))
    # From the old version to the new one, and never back but where the new one had no answer, as on a busy machine.
    assert went_back <= fallbacks(stack, after.version)
    stack.run("-m", "delivery", "rollback", "served_model=cartpole")


def test_a_dry_run_shows_the_canary(stack: Stack, settings: Settings) -> None:
    [before] = registered(settings)
    printed = stack.run("upload_model.py", "served_model=cartpole", "rollout.dry_run=true", *CANARY, f"{DELAY}=2")
    assert "would have 1" in printed
    assert "answer 0.3 of the requests for 0.05 min" in printed
    assert registered(settings) == [before]
