"""A new version proves itself on a share of the traffic or copies of it, and clients never notice when it does not."""

import json
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests

import engines
from archive import write_zip
from delivery.journal import Step
from delivery.stores import open_store
from delivery.table import models_table
from delivery.traffic import Splits
from delivery.trial import report_file
from settings import Settings, load
from tests.e2e.conftest import Stack
from tests.e2e.test_broken_archives import HANDLER, contents, summed
from tests.e2e.test_rollout import kill_upload, registered

pytestmark = pytest.mark.e2e

QUICK = ("rollout.watch_s=0.5", "rollout.warm_requests=1", "canary.min_requests=20", "shadow.min_compared=20")
# Two versions on a busy machine: how fast they are is judged only where a test is about that.
CANARY = (*QUICK, "canary.weight=0.3", "canary.minutes=0.05", "canary.max_latency_ratio=1000")
SHADOW = (*QUICK, "shadow.share=1", "shadow.minutes=0.05", "canary.max_latency_ratio=1000")
NO_HEADERS: Mapping[str, str] = {}
DELAY = "served_model.request_params.max_batch_delay"

# Answers as it should until it has proven itself; what comes later than `first` batches is done otherwise.
LATER = b"""
answers, told = PolicyHandler.postprocess, []
def otherwise(self, forwarded):
    told.append(1)
    rows = answers(self, forwarded)
    if len(told) > 8:
        %s
    return rows
PolicyHandler.postprocess = otherwise
"""
LATER_THEN = {
    "fails": "raise RuntimeError('later')",
    "is slow": "import time; time.sleep(0.1)",
    "hangs": "import time; time.sleep(3600)",
    "dies": "import os; os._exit(3)",
    "disagrees": """rows = [r.replace('"action":0', '"action":2').replace('"action":1', '"action":0')
            .replace('"action":2', '"action":1') if isinstance(r, str) else
            r.replace(b'"action":0', b'"action":2').replace(b'"action":1', b'"action":0')
            .replace(b'"action":2', b'"action":1') for r in rows]""",
}


@pytest.fixture
def settings(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in stack.env.items():
        if name.startswith("MARINA_"):
            monkeypatch.setenv(name, value)
    return load(["served_model=cartpole"])


@dataclass
class Traffic:
    """What clients were answered: status, version, and the header that they sent."""

    answers: list[tuple[int, str, str]] = field(default_factory=list)
    longest: float = 0.0

    def statuses(self) -> set[int]:
        return {status for status, _, _ in self.answers}


@contextmanager
def traffic(stack: Stack, clients: int = 4, headers: Mapping[str, str] = NO_HEADERS) -> Iterator[Traffic]:
    """Clients that send states, no two the same; `{}` in a header is the client's number."""
    seen, over = Traffic(), threading.Event()

    def keep_asking(number: int) -> None:
        chance = random.Random(number)
        own = {name: value.format(number) for name, value in headers.items()}
        state = {"cart_position": 0.0, "cart_velocity": 0.0, "pole_angle": 0.1, "pole_angular_velocity": 0.5}
        with requests.Session() as session:
            while not over.is_set():
                state["cart_velocity"] = chance.uniform(-1, 1)
                began = time.monotonic()
                got = session.post(f"{stack.gateway}/models/cartpole/predict", json=state, headers=own, timeout=60)
                seen.longest = max(seen.longest, time.monotonic() - began)
                seen.answers.append((got.status_code, got.json().get("version", ""), str(number)))

    threads = [threading.Thread(target=keep_asking, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()


def broken_later(stack: Stack, folder: Path, how: str) -> tuple[str, ...]:
    """Overrides that roll out an archive which does something else after a while."""
    files: Mapping[str, bytes] = contents(stack.archives / "cartpole.mar")
    write_zip(summed({**files, HANDLER: files[HANDLER] + LATER % LATER_THEN[how].encode()}), folder / "cartpole.mar")
    return (f"paths.archives={folder}", f"store.folder={stack.archives}")


def fallbacks(stack: Stack, version: str) -> float:
    """Requests that a version under trial left to the old one, as the gateway counts them."""
    lines = requests.get(f"{stack.gateway}/metrics", timeout=30).text.splitlines()
    counted = 'marina_gateway_fallbacks_total{model="cartpole",version="' + version + '"}'
    return sum(float(line.split()[-1]) for line in lines if line.startswith(counted))


def report(settings: Settings, version: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(report_file(settings, "cartpole", version).read_text())
    return found


def assert_no_trace_is_left(settings: Settings, stack: Stack, kept: list[Path]) -> None:
    """One version with all its workers, no share, no journal, and no archive that was not there before."""
    assert Splits.of(settings).all() == {}
    [only] = registered(settings)
    assert only.ready_workers == settings.served_model.request_params.initial_workers
    assert sorted(stack.archives.iterdir()) == kept
    left = {file.name for file in (stack.state / "rollouts").iterdir() if file.name.startswith((".", "cartpole"))}
    assert left == {"cartpole.lock"}


@pytest.fixture
def kept(stack: Stack) -> list[Path]:
    """The archives before the test."""
    return sorted(stack.archives.iterdir())


def test_a_good_canary_is_promoted_and_can_be_gone_back_from(stack: Stack, settings: Settings) -> None:
    [before] = registered(settings)
    with traffic(stack) as seen:
        upload = stack.start("upload_model.py", "served_model=cartpole", *CANARY, "shadow.share=0.5", f"{DELAY}=2")
        shares = during(upload.poll, lambda: serving_column(settings))
        printed = upload.communicate()[0]
    assert upload.returncode == 0, printed
    [after] = registered(settings)
    assert printed.splitlines()[-1] == f"cartpole {after.version} serves now"
    assert seen.statuses() == {200}
    assert {version for _, version, _ in seen.answers} == {before.version, after.version}
    assert shares == {before.version: "0.7", after.version: "0.3"}
    told = report(settings, after.version)
    new, old = (sum(told["evidence"][side]["answers"].values()) for side in ("new", "old"))
    assert new / (new + old) == pytest.approx(0.3, abs=0.02)
    assert told["failed_because"] is None
    assert told["evidence"]["compared"]["differs"] == 0
    assert "p95" in printed
    assert Splits.of(settings).all() == {}
    stack.run("-m", "delivery", "rollback", "served_model=cartpole")
    assert [found.version for found in registered(settings)] == [before.version]


def during(ended: Callable[[], int | None], look: Callable[[], dict[str, str]]) -> dict[str, str]:
    """What `look` finds while a trial is under way."""
    deadline = time.monotonic() + 120
    while not (found := look()):
        assert ended() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def serving_column(settings: Settings) -> dict[str, str]:
    """What `make models` says of each version's share; empty while there is no trial."""
    if "cartpole" not in Splits.of(settings).all():
        return {}
    with engines.of(settings).open() as engine:
        printed = models_table([engine], open_store(settings), Splits.of(settings), datetime.now(UTC))
    rows = [line.split() for line in printed.splitlines() if line.startswith("cartpole")]
    return {row[1]: row[2] for row in rows}


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
    with traffic(stack, headers={"x-deadline-ms": "8000"} if how == "hangs" else {}) as seen:
        changed = broken_later(stack, tmp_path, how)
        printed = stack.run("upload_model.py", "served_model=cartpole", *CANARY, *changed, *more, status=1)
    last = printed.splitlines()[-1]
    assert "was withdrawn: " in last
    assert words in last
    assert last.endswith(f"version {before.version} serves as before")
    assert seen.statuses() == {200}
    assert seen.answers[-1][1] == before.version
    assert registered(settings) == [before]
    assert_no_trace_is_left(settings, stack, kept)


@pytest.mark.slow
def test_a_sticky_canary_keeps_each_client_on_its_side(stack: Stack, settings: Settings) -> None:
    [before] = registered(settings)
    sticky = ("canary.weight=0.5", "canary.sticky_header=x-user")
    with traffic(stack, clients=12, headers={"x-user": "user {}"}) as seen:
        printed = stack.run("upload_model.py", "served_model=cartpole", *CANARY, *sticky, f"{DELAY}=2")
    [after] = registered(settings)
    assert "serves now" in printed
    assert seen.statuses() == {200}
    told = report(settings, after.version)
    assert sum(told["evidence"]["new"]["answers"].values()) > 20
    went_back = 0
    for number in range(12):
        own = [version for _, version, client in seen.answers if client == str(number)]
        went_back += sum(last != before.version and now == before.version for last, now in pairwise(own))
    # From the old version to the new one, and never back but where the new one had no answer, as on a busy machine.
    assert went_back <= fallbacks(stack, after.version)
    stack.run("-m", "delivery", "rollback", "served_model=cartpole")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["fails", "is slow", "hangs", "dies", "disagrees"])
def test_a_shadow_of_any_kind_is_not_noticed_by_clients(
    stack: Stack, kept: list[Path], settings: Settings, tmp_path: Path, how: str
) -> None:
    [before] = registered(settings)
    changed = broken_later(stack, tmp_path, how)
    slow = ("canary.max_latency_ratio=1.5", "shadow.minutes=0.5") if how == "is slow" else ()
    with traffic(stack) as seen:
        more = (*SHADOW, *changed, "shadow.timeout_s=1", *slow)
        printed = stack.run("upload_model.py", "served_model=cartpole", *more, status=1)
    assert "was withdrawn: " in printed.splitlines()[-1]
    assert {(status, version) for status, version, _ in seen.answers} == {(200, before.version)}
    assert registered(settings) == [before]
    assert_no_trace_is_left(settings, stack, kept)


@pytest.mark.slow
def test_a_shadow_that_is_only_looked_at_reports_and_goes(stack: Stack, kept: list[Path], settings: Settings) -> None:
    [before] = registered(settings)
    with traffic(stack) as seen:
        printed = stack.run("upload_model.py", "served_model=cartpole", *SHADOW, "shadow.only=true", f"{DELAY}=2")
    assert "was tried out only" in printed.splitlines()[-1]
    assert printed.splitlines()[-1].endswith(f"{before.version} serves as before")
    assert "copies: " in printed
    assert {(status, version) for status, version, _ in seen.answers} == {(200, before.version)}
    assert registered(settings) == [before]
    assert_no_trace_is_left(settings, stack, kept)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("step", [Step.SWITCH, Step.WATCH, Step.RECORD, Step.DRAIN, Step.REMOVE])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_promotion_killed_at_any_step_is_ended_by_the_next_rollout(
    stack: Stack, settings: Settings, step: Step, when: str
) -> None:
    [before] = registered(settings)
    with traffic(stack) as seen:
        kill_upload(stack, when, step, *CANARY, f"{DELAY}={before.max_batch_delay + 1}")
        stack.run("upload_model.py", "served_model=cartpole", *QUICK, f"{DELAY}={before.max_batch_delay}")
    assert seen.statuses() == {200}
    assert Splits.of(settings).all() == {}
    assert len(registered(settings)) == 1


@pytest.mark.slow
def test_an_upload_killed_in_the_midst_of_its_canary_loses_no_request(
    stack: Stack, kept: list[Path], settings: Settings
) -> None:
    [before] = registered(settings)
    with traffic(stack) as seen:
        upload = stack.start("upload_model.py", "served_model=cartpole", *CANARY, "canary.minutes=5", f"{DELAY}=2")
        during(upload.poll, lambda: serving_column(settings))
        new = next(each.version for each in registered(settings) if each.version != before.version)
        deadline = time.monotonic() + 30
        while (200, new) not in {(status, version) for status, version, _ in seen.answers[-200:]}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        upload.send_signal(signal.SIGKILL)
        upload.communicate()
        stack.run("upload_model.py", "served_model=cartpole", *QUICK, f"{DELAY}={before.max_batch_delay}")
    assert seen.statuses() == {200}
    assert seen.answers[-1][1] == before.version
    assert registered(settings) == [before]
    assert_no_trace_is_left(settings, stack, kept)


def test_a_dry_run_shows_the_canary(stack: Stack, settings: Settings) -> None:
    [before] = registered(settings)
    printed = stack.run("upload_model.py", "served_model=cartpole", "rollout.dry_run=true", *CANARY, f"{DELAY}=2")
    assert "would have 1" in printed
    assert "answer 0.3 of the requests for 0.05 min" in printed
    assert registered(settings) == [before]
