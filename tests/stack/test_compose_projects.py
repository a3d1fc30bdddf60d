"""The check of a stack's name, against a `docker` that lists the containers which a test names."""

import json
from pathlib import Path

import pytest

from errors import StackError
from stack import compose_projects


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "here" / "docker").mkdir(parents=True)
    return tmp_path / "here" / "docker"


def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, running: list[tuple[str, Path]]) -> None:
    """Put a `docker` on the path that answers `compose config` and `ps` as the engine does."""
    listed = "\n".join(f"{project}\t{path}" for project, path in running)
    (tmp_path / "listed").write_text(f"{listed}\n" if listed else "")
    (tmp_path / "config").write_text(json.dumps({"name": name}))
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nif [ $1 = ps ]; then cat {tmp_path}/listed; else cat {tmp_path}/config; fi\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")


def test_name_is_free_without_containers_and_for_its_own(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine(tmp_path, monkeypatch, "marina", [("marina", folder), ("marina", folder), ("other", tmp_path)])
    compose_projects.check(folder)


def test_stack_of_another_folder_is_named_with_the_command_for_two(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine(tmp_path, monkeypatch, "marina", [("marina", tmp_path / "there" / "docker")])
    with pytest.raises(StackError, match=r"marina is that of .*/there/docker; .*COMPOSE_PROJECT_NAME=marina2 .*=5013 "):
        compose_projects.check(folder)


def test_second_name_for_one_folder_is_refused(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine(tmp_path, monkeypatch, "marina2", [("marina", folder)])
    with pytest.raises(StackError, match="COMPOSE_PROJECT_NAME=marina make compose_down"):
        compose_projects.check(folder)


def test_folder_is_the_same_by_another_path(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "here")
    engine(tmp_path, monkeypatch, "marina", [("marina", tmp_path / "link" / "docker")])
    compose_projects.check(folder)


def test_engine_that_does_not_answer_is_one_line(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine(tmp_path, monkeypatch, "marina", [])
    (tmp_path / "bin" / "docker").write_text("#!/bin/sh\necho first >&2\necho cannot connect >&2\nexit 1\n")
    with pytest.raises(StackError, match=r"^docker: cannot connect$"):
        compose_projects.check(folder)


def test_missing_engine_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(StackError, match="docker is not installed"):
        compose_projects.check(folder)


@pytest.mark.parametrize(("printed", "number"), [("20.10.24+dfsg1", 20), ("28.0.1", 28)])
def test_version_of_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, number: int) -> None:
    engine(tmp_path, monkeypatch, "marina", [])
    (tmp_path / "bin" / "docker").write_text(f"#!/bin/sh\necho {printed}\n")
    assert compose_projects.engine_version() == number


def test_version_that_is_none_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine(tmp_path, monkeypatch, "marina", [])
    (tmp_path / "bin" / "docker").write_text("#!/bin/sh\necho dev\n")
    with pytest.raises(StackError, match="'dev' is no version of an engine"):
        compose_projects.engine_version()
