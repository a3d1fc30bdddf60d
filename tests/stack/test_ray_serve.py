"""engine=ray as parts of the stack."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from errors import ConfigError
from settings import load
from settings.load import ROOT
from settings.schema import RayServeSettings
from stack import ray_serve
from stack.folders import Folders
from stack.local_services import Service, services
from tests.e2e.conftest import PORTS
from tests.ports import free_port

INSTALL = "pip install -r requirements-ray.txt"


def made(*overrides: str) -> dict[str, Service]:
    settings = load(["engine=ray", *overrides])
    return {part.name: part for part in services(settings, ("engine=ray", *overrides))}


def test_a_head_and_a_manager_stand_in_torchserves_place() -> None:
    assert list(made()) == ["ray", "rayserve", "filebrowser", "gateway", "keeper"]


def test_running_cluster_is_joined_not_started() -> None:
    assert list(made("engine.address=10.0.0.1:6379")) == ["rayserve", "filebrowser", "gateway", "keeper"]


def test_joined_cluster_token_is_left_to_user() -> None:
    assert made()["rayserve"].env["RAY_AUTH_TOKEN_PATH"].endswith("/ray/cluster_token")
    joined = made("engine.address=127.0.0.1:6379")["rayserve"].env
    assert [name for name in joined if name.startswith("RAY_AUTH")] == []
    assert joined["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"


def test_manager_readiness_is_management_api() -> None:
    assert made("engine.management_port=7002")["rayserve"].ready_url == "http://127.0.0.1:7002/ping"


def test_joined_cluster_is_recorded_until_left(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    engine = load(["engine=ray", "engine.address=127.0.0.1:1", f"engine.key_file={tmp_path}/ray/key_file.json"]).engine
    assert isinstance(engine, RayServeSettings)
    folders = Folders(tmp_path, tmp_path / "store", keeps_model_store=False)
    ray_serve.prepare(folders, engine)
    assert (folders.ray / ray_serve.JOINED).read_text().splitlines()[0] == "127.0.0.1:1"
    ray_serve.leave(folders)
    assert not (folders.ray / ray_serve.JOINED).exists()
    folders.remove_temporary()


def test_hosts_elsewhere_need_no_engine_here() -> None:
    away = "{name: a, inference_url: 'http://10.0.0.1:8080', management_url: 'http://10.0.0.1:8081', token: t}"
    assert "ray" not in made(f"engine.nodes=[{away}]")


def test_head_environment_is_loopback_own_folder_no_reports() -> None:
    head = made("engine.ray_port=7001", "engine.cpus=0")["ray"]
    folders = Folders.of(load(["engine=ray"]))
    assert {"--host=127.0.0.1", "--port=7001", "--cpus=0"} <= set(head.command)
    assert not any(word.startswith("--dashboard") for word in head.command)
    assert f"--folder={folders.temporary / 'ray'}" in head.command
    assert head.env["RAY_USAGE_STATS_ENABLED"] == "0"
    # A Unix socket's path has 107 bytes; Ray adds the session and the socket's name.
    longest = folders.temporary / "ray" / "session_2026-11-21_13-14-04_123456_1234567" / "sockets" / "plasma_store"
    assert len(str(longest)) <= 107


def test_the_dashboard_is_there_when_it_is_asked_for() -> None:
    assert "--dashboard-port=8265" in made("engine.dashboard_port=8265")["ray"].command


def test_manager_ends_with_own_head_not_with_joined_cluster() -> None:
    assert made()["rayserve"].within == "ray"
    assert made("engine.address=10.0.0.1:6379")["rayserve"].within is None


def test_without_ray_a_start_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.profiles.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install -r requirements-ray\.txt"):
        ray_serve.prepare(Folders(tmp_path, tmp_path / "store", keeps_model_store=False))
    assert list(tmp_path.iterdir()) == []


WITHOUT = "import sys; sys.modules['ray'] = None; from {0} import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.parametrize(
    ("program", "words", "begins"),
    [("stack.__main__", ("up", "engine=ray"), "error: "), ("engines.ray.__main__", ("engine=ray",), "")],
)
def test_without_ray_whoever_needs_it_says_so_in_one_line(
    program: str, words: tuple[str, ...], begins: str, tmp_path: Path
) -> None:
    env = {**os.environ, "MARINA_STATE": str(tmp_path / "state")}
    env |= dict(zip(PORTS, map(str, (free_port() for _ in PORTS)), strict=True))
    command = [sys.executable, "-c", WITHOUT.format(program), *words]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    said = json.loads(line)["event"] if line.startswith("{") else line
    assert said == f"{begins}Ray Serve needs the package 'ray', which is not installed: {INSTALL}"
