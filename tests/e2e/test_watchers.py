"""What watches a rollout and the load sees it through a gateway that asks for API keys, or stops."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests

import engines
from bench.local_stack import free_ports
from deployments.traffic import TrafficFile
from engines.engine_profile import ModelVersion
from gateway.apikey import new_key
from settings import Settings
from stack import processes
from tests.e2e.clients import asking
from tests.e2e.conftest import Stack
from tests.e2e.trials import CANARY, assert_no_trace_is_left, broken_later, report
from tests.e2e.uploads import DELAY, QUICK, registered
from tests.polling import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

KEY, DIGEST = new_key()
OWN = {"x-api-key": KEY}


def other_delay(now: ModelVersion) -> str:
    """A setting that makes the same archive another version."""
    return f"{DELAY}={now.max_batch_delay + 1}"


@dataclass
class Locked:
    """A second gateway in front of the stack's engine, which asks for keys; `stack` is what commands need for it."""

    stack: Stack
    key_file: Path
    program: "subprocess.Popen[str]"

    def start(self) -> None:
        """The gateway, until it answers."""
        known = f"gateway.security.api_keys=[{{name: delivery, sha256: {DIGEST}}}]"
        self.program = self.stack.start("app.py", known)
        wait_for(lambda: self._answers() or self.program.poll() is not None)
        assert self.program.poll() is None

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.stack.gateway}/healthz", timeout=5).ok
        except requests.RequestException:
            return False


@pytest.fixture
def locked(stack: Stack, tmp_path: Path) -> Iterator[Locked]:
    key_file = tmp_path / "delivery.key"
    key_file.write_text(KEY)
    ports = dict(zip(("MARINA_GATEWAY_PORT", "MARINA_GATEWAY_GRPC_PORT"), map(str, free_ports(2)), strict=True))
    env = stack.env | ports | {"MARINA_API_KEY_FILE": str(key_file)}
    found = Locked(Stack(env), key_file, subprocess.Popen(["true"], text=True))
    found.start()
    try:
        yield found
    finally:
        processes.stop([psutil.Process(found.program.pid)] if found.program.poll() is None else [])
        found.program.communicate()


def test_upload_without_a_key_ends_before_it_changes_anything(
    locked: Locked, settings: Settings, stack: Stack, kept: list[Path]
) -> None:
    [before] = registered(settings)
    locked.key_file.write_text("another")
    for more in ((), CANARY):
        printed = locked.stack.run(
            "upload_model.py", "served_model=cartpole", *QUICK, *more, other_delay(before), status=1
        )
        last = printed.splitlines()[-1]
        assert f"was not rolled out: {locked.stack.gateway}/metrics answers 401: set MARINA_API_KEY_FILE" in last
        assert last.endswith(f"version {before.version} serves as before")
        assert "register" not in printed
    assert registered(settings) == [before]
    assert_no_trace_is_left(settings, stack, kept)


def test_version_that_fails_after_the_switch_is_taken_back(
    locked: Locked, kept: list[Path], settings: Settings, stack: Stack, tmp_path: Path
) -> None:
    [before] = registered(settings)
    with asking(locked.stack.predict_url("cartpole"), headers=OWN):
        changed = broken_later(locked.stack, tmp_path, "fails")
        command = (
            "upload_model.py",
            "served_model=cartpole",
            *changed,
            "rollout.warm_requests=1",
            "rollout.watch_s=60",
        )
        printed = locked.stack.run(*command, status=1)
    last = printed.splitlines()[-1]
    assert "answers failed" in last
    assert last.endswith(f"version {before.version} serves again")
    assert registered(settings) == [before]
    assert_no_trace_is_left(settings, stack, kept)


def test_good_canary_is_promoted_by_figures_that_want_a_key(locked: Locked, settings: Settings) -> None:
    [before] = registered(settings)
    with asking(locked.stack.predict_url("cartpole"), headers=OWN) as answers:
        printed = locked.stack.run("upload_model.py", "served_model=cartpole", *CANARY, other_delay(before))
    [after] = registered(settings)
    assert printed.splitlines()[-1] == f"cartpole {after.version} serves now"
    assert re.search(r"0 of its first [1-9]\d* answers failed", printed)
    assert answers.statuses == {200}
    told = report(settings, after.version)
    assert sum(told["evidence"]["new"]["answers"].values()) >= 20
    assert TrafficFile.of(settings).all() == {}
    # Nobody asks any more, and the last line says what that watch was worth.
    printed = locked.stack.run("-m", "delivery", "rollback", "served_model=cartpole", *QUICK)
    assert printed.splitlines()[-1] == f"cartpole {before.version} serves again (no request came while it was watched)"


def default(settings: Settings) -> str | None:
    with engines.connect(settings) as engine:
        found = engine.default("cartpole")
    return found.version if found else None


@pytest.mark.slow
def test_gateway_that_is_lost_after_the_switch_takes_the_version_back(
    locked: Locked, kept: list[Path], settings: Settings, stack: Stack
) -> None:
    [before] = registered(settings)
    upload = locked.stack.start("upload_model.py", "served_model=cartpole", "rollout.watch_s=300", other_delay(before))
    wait_for(lambda: default(settings) not in (None, before.version))
    os.kill(locked.program.pid, signal.SIGKILL)
    printed = upload.communicate()[0]
    assert upload.returncode == 1
    assert "was taken back" in printed.splitlines()[-1]
    assert "/metrics does not answer (connection refused)" in printed.splitlines()[-1]
    assert registered(settings) == [before]
    assert_no_trace_is_left(settings, stack, kept)


def test_scaler_keeps_the_workers_until_it_can_read_the_figures(locked: Locked, settings: Settings) -> None:
    [before] = registered(settings)
    more = before.min_workers + 1
    locked.key_file.write_text("another")
    [port] = free_ports(1)
    models = f"scaling.models={{cartpole:{{min_workers:{more},max_workers:{more}}}}}"
    scaler = locked.stack.start(
        "-m", "delivery", "scale", models, f"scaling.metrics_port={port}", "scaling.check_s=0.2"
    )

    def frozen(now: str) -> bool:
        try:
            text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
        except requests.ConnectionError:
            assert scaler.poll() is None
            return False
        return f'marina_scaler_frozen{{model="cartpole"}} {now}' in text

    try:
        wait_for(lambda: frozen("1.0"))
        assert registered(settings) == [before]
        locked.key_file.write_text(KEY)
        wait_for(lambda: registered(settings)[0].ready_workers == more)
        assert frozen("0.0")
    finally:
        processes.stop([psutil.Process(scaler.pid)])
        said = scaler.communicate()[0]
    assert said.count("cartpole keeps its workers: ") == 1
    assert "/metrics answers 401" in said
    assert f"cartpole gets {more} workers instead of {before.min_workers}" in said
    locked.stack.run("upload_model.py", "served_model=cartpole", *QUICK)
    [after] = registered(settings)
    assert after.min_workers == settings.served_model.request_params.initial_workers
