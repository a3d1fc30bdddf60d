"""TorchServe as a part of the stack: what it needs of this machine."""

from pathlib import Path

import pytest

from errors import StackError
from settings import load
from stack import __main__ as command
from stack.local_services import services
from stack.torchserve import check_kill


def test_torchserve_of_others_is_neither_started_nor_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert [part.name for part in services(load(["engine.external=true"]), ())] == ["filebrowser", "gateway", "keeper"]
    assert command.main(["run", "torchserve", "engine.external=true"]) == 1
    assert "engine.external is true: torchserve is started and stopped by others" in capsys.readouterr().err


def test_torchserve_of_others_has_its_line_in_the_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    away = ("engine.external=true", "engine.inference_port=1", "engine.management_port=1", f"paths.state={tmp_path}")
    assert command.main(["status", *away]) == 1
    assert "engine      away      -           http://127.0.0.1:1/" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("external", [True, False])
def test_down_keeps_the_model_store_of_a_torchserve_that_others_start(tmp_path: Path, *, external: bool) -> None:
    theirs = tmp_path / "theirs" / "parrot.mar"
    theirs.parent.mkdir()
    theirs.write_bytes(b"theirs")
    words = (f"engine.model_store={theirs.parent}", f"paths.state={tmp_path / 'state'}")
    assert command.main(["down", f"engine.external={external}", *words]) == 0
    assert theirs.exists() is external


def test_check_kill_program_is_there_says_nothing() -> None:
    check_kill()


def test_check_kill_program_is_missing_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="the program `kill`, which is missing: apt-get install procps"):
        check_kill()
