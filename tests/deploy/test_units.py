"""The systemd units name programs, parts and folders that there are."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from settings import load
from settings.load import ROOT
from stack.local_services import services as stack_services

UNITS = ROOT / "deploy" / "systemd"
ANALYZE = shutil.which("systemd-analyze")
HOME = "/srv/marina"


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names differ by case
    parser.read(UNITS / name)
    return parser


def services() -> list[str]:
    return sorted(path.name for path in UNITS.glob("*.service"))


@pytest.mark.parametrize("name", services())
def test_a_service_starts_a_program_of_this_project_as_its_own_user(name: str) -> None:
    service = unit(name)["Service"]
    python, *words = service["ExecStart"].split()
    assert python == f"{HOME}/.venv/bin/python"
    if words[0] == "-m":
        assert (ROOT / words[1] / "__main__.py").is_file()
    else:
        assert (ROOT / words[0]).is_file()
    assert service["WorkingDirectory"] == HOME
    assert service["User"] == service["Group"] == "marina"
    assert service["NoNewPrivileges"] == "yes"
    documented = unit(name)["Unit"]["Documentation"]
    assert (ROOT / documented.removeprefix(f"file:{HOME}/")).is_file()


def test_the_target_wants_each_part_of_the_stack_and_the_keeper() -> None:
    wanted = set(unit("marina.target")["Unit"]["Wants"].split())
    # systemd starts parts again itself; its keeper has the models alone to see to.
    started = {part.name for part in stack_services(load())} - {"keeper"}
    expected = {f"marina@{name}.service" for name in started} | {"marina-keeper.service"}
    assert wanted == expected


@pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for path in UNITS.iterdir():
        words = path.read_text().replace(f"{HOME}/.venv/bin/python", sys.executable).replace(HOME, str(ROOT))
        (tmp_path / path.name).write_text(re.sub(r"^(User|Group)=marina$", r"\1=root", words, flags=re.MULTILINE))
    shutil.copy(tmp_path / "marina@.service", tmp_path / "marina@gateway.service")
    names = ["marina@gateway.service", "marina-keeper.service", "marina-spare.service", "marina.target"]
    done = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", "--recursive-errors=no", *names],
        cwd=tmp_path,
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if str(tmp_path) in line or "marina" in line] == []
