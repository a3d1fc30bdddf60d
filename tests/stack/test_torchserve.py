"""TorchServe as a part of the stack: what it needs of this machine."""

from pathlib import Path

import pytest

from errors import StackError
from stack.torchserve import check_kill


def test_check_kill_program_is_there_says_nothing() -> None:
    check_kill()


def test_check_kill_program_is_missing_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="the program `kill`, which is missing: apt-get install procps"):
        check_kill()
