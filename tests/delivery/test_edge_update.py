"""The last step of a rollout and of a rollback: a running edge serves the same version."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from delivery import rollout
from delivery.edge_update import follow
from delivery.rollout import roll_back
from errors import EdgeError
from settings import Settings, load
from tests.delivery.conftest import Scene


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load([f"paths.state={tmp_path}"])


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were started; each fails with two lines."""
    commands: list[list[str]] = []

    def run(command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        assert Settings.model_validate_json(options["input"], strict=True)
        commands.append(command)
        return subprocess.CompletedProcess(command, 1, "", "a warning\nerror: the edge still answers with toy 1.0\n")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


@pytest.mark.parametrize("task", ["segment", "detect", "classify"])
def test_settings_of_every_task_reach_the_edges_command(tmp_path: Path, started: list[list[str]], task: str) -> None:
    words = {
        "classify": [],
        "segment": ["served_model.output.mask=png"],
        "detect": [
            "~served_model.output.activation",
            "served_model.output.threshold=0.5",
            "served_model.output.nms=none",
        ],
    }
    loaded = load(["served_model=digits", f"served_model.task={task}", f"paths.state={tmp_path}", *words[task]])
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "nginx.conf").touch()
    with pytest.raises(EdgeError):
        follow("digits", "1.1", tmp_path / "digits-1.1.mar", loaded)
    assert len(started) == 1


def test_without_an_edge_nothing_is_started(settings: Settings, tmp_path: Path, started: list[list[str]]) -> None:
    follow("toy", "1.1", tmp_path / "toy-1.1.mar", settings)
    assert started == []


def test_failure_of_the_edge_is_raised_in_its_own_words(
    settings: Settings, tmp_path: Path, started: list[list[str]]
) -> None:
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "nginx.conf").touch()
    with pytest.raises(EdgeError) as caught:
        follow("toy", "1.1", tmp_path / "toy-1.1.mar", settings)
    assert str(caught.value) == "the edge still answers with toy 1.0"
    assert started == [[sys.executable, "-m", "edge", "follow", "toy", "1.1", str(tmp_path / "toy-1.1.mar")]]


def test_rollout_and_rollback_end_with_the_edge(any_scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []
    monkeypatch.setattr(rollout, "follow", lambda model, version, archive, _: seen.append((version, archive.name)))
    any_scene.upload(0)
    any_scene.upload(1)
    any_scene.upload(1)
    roll_back("toy", any_scene.settings())
    versions = ["1.0", "1.1", "1.1", "1.0"]
    assert seen == [(version, f"toy-{version}.mar") for version in versions]


def test_dry_run_leaves_the_edge_alone(any_scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(rollout, "follow", lambda model, version, archive, _: seen.append(version))
    assert any_scene.upload(2, rollout={"dry_run": True}).plan
    assert seen == []
