"""Docker's plugins: what is said in one line when Compose is missing, too old or version 1."""

from pathlib import Path

import pytest

from errors import StackError
from stack import debian, docker_plugins


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of programs; it is empty."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def docker(compose: str, buildx: str = "echo 0.13") -> str:
    return f'case "$1" in compose) {compose};; buildx) {buildx};; esac'


@pytest.mark.parametrize("version", ["2.20.0", "v2.26.1", "2.26.1-4", "5.0.1"])
def test_new_compose_is_accepted(programs: Path, version: str) -> None:
    program(programs, "docker", docker(f"echo {version}"))
    docker_plugins.check()


@pytest.mark.parametrize(
    ("compose", "first", "words"),
    [
        ("echo 2.17.3", None, "Compose is version 2.17.3"),
        ("exit 1", "echo 1.29.2", "docker-compose is version 1.29.2"),
        ("exit 1", None, "`docker compose` is not installed"),
    ],
)
def test_missing_or_old_compose_is_one_line_with_its_remedy(
    programs: Path, compose: str, first: str | None, words: str
) -> None:
    program(programs, "docker", docker(compose))
    if first:
        program(programs, "docker-compose", first)
    with pytest.raises(StackError, match=words) as caught:
        docker_plugins.check()
    assert str(caught.value).endswith("run: python3 -m stack.setup compose")
    assert "\n" not in str(caught.value)


def test_install_without_docker_fetches_nothing(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[object] = []
    monkeypatch.setattr(debian, "fetch", lambda *words: fetched.append(words))
    monkeypatch.setenv("DOCKER_CONFIG", str(programs / "config"))
    with pytest.raises(StackError, match="docker is not installed"):
        docker_plugins.install()
    assert fetched == []
    assert list(programs.iterdir()) == []


def test_missing_docker_and_buildx_are_named(programs: Path) -> None:
    with pytest.raises(StackError, match="docker is not installed"):
        docker_plugins.check()
    program(programs, "docker", docker("echo 2.26.1", "exit 1"))
    with pytest.raises(StackError, match="`docker buildx` is not installed"):
        docker_plugins.check()
