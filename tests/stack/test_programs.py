"""A program that is missing or fails becomes one line."""

import sys
from pathlib import Path

import pytest

from errors import StackError
from stack import docker_run, programs


def test_output_of_a_program_in_a_folder(tmp_path: Path) -> None:
    code = "import os; print(os.getcwd(), os.environ['WORD'])"
    said = programs.output(sys.executable, "-c", code, folder=tmp_path, env={"WORD": "here"})
    assert said == f"{tmp_path} here\n"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo one >&2; echo two >&2; exit 3", "sh: two"),
        ("echo only here; exit 3", "sh: only here"),
        ("exit 3", "`sh -c 'exit 3'` failed: 3"),
    ],
)
def test_program_that_fails_is_one_line(script: str, words: str) -> None:
    with pytest.raises(StackError) as caught:
        programs.output("sh", "-c", script)
    assert str(caught.value) == words


def test_program_that_is_missing_is_named() -> None:
    with pytest.raises(StackError, match=r"^no-such-program is not installed$"):
        programs.output("no-such-program")


def test_image_that_is_missing_is_named_with_its_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(StackError, match=r"^no image toy; `make build_toy` builds it$"):
        docker_run.check_image("toy", "build_toy")
