"""Adoptions that are disturbed: an archive that is deleted meanwhile, and a kill -9 at each step."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import settings
from archive import open_archive
from delivery.adopt import carry_out, is_adopted, plan_adoption
from delivery.adopt_torchserve import adopt_each, plan_deployment
from delivery.running_torchserve import ServedModel
from settings.load import ROOT
from tests.archive.foreign_archives import PARROT, handler_file, make_archive, parrot, samples
from tests.delivery.test_adopt_torchserve import loaded, running, version
from tests.polling import wait_for

# Runs an adoption that dies as a power cut would: before or after it calls a function.
KILLED = """
import os, signal, sys
from delivery import __main__ as command, adopt
when, name, *words = sys.argv[1:]
act = getattr(adopt, name)

def act_and_die(*given, **named):
    if when == "after":
        act(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(adopt, name, act_and_die)
sys.exit(command.main(words))
"""


class Adopter:
    """Runs `make adopt` in a process of its own, with folders of its own."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(ROOT / "config", folder / "config", ignore=shutil.ignore_patterns("local"))
        self.archive = folder / "mars" / "parrot.mar"
        self.model_file = folder / "config" / "served_model" / "parrot.yaml"
        self._env = {
            **os.environ,
            "MARINA_CONFIG": str(folder / "config"),
            "MARINA_STATE": str(folder / "state"),
            "MARINA_ARCHIVES": str(self.archive.parent),
            "PYTHONPATH": str(ROOT),
        }

    def start(self, source: Path, asked: Path, *program: str) -> "subprocess.Popen[str]":
        words = ("adopt", str(source), str(asked), "trust=yes", "engine=ray")
        return subprocess.Popen(
            [sys.executable, *(program or ("-m", "delivery")), *words],
            cwd=ROOT,
            env=self._env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def finish(self, source: Path, asked: Path) -> str:
        with self.start(source, asked) as process:
            printed: str = process.communicate()[0]
        assert process.returncode == 0, printed
        return printed


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("when", "step", "left"),
    [
        ("before", "write_sealed", (False, False)),
        ("after", "write_sealed", (False, False)),
        ("after", "replace_durably", (True, False)),
        ("after", "write_once", (True, True)),
    ],
)
def test_adoption_that_is_killed_leaves_whole_files_and_is_finished_by_the_next(
    tmp_path: Path, when: str, step: str, left: tuple[bool, bool]
) -> None:
    adopter = Adopter(tmp_path)
    source, asked = parrot(tmp_path / "theirs"), samples(tmp_path / "samples", a__json=b'{"say": 1}')
    with adopter.start(source, asked, "-c", KILLED, when, step) as process:
        printed = process.communicate()[0]
    assert process.returncode == -signal.SIGKILL, printed
    assert (adopter.archive.exists(), adopter.model_file.exists()) == left
    if adopter.archive.exists():
        open_archive(adopter.archive)
    adopter.finish(source, asked)
    assert len(open_archive(adopter.archive).golden["samples"]) == 1
    assert adopter.model_file.exists()
    assert [path.name for path in adopter.archive.parent.iterdir()] == ["parrot.mar"]


def test_handler_of_an_adoption_that_is_killed_ends_too(tmp_path: Path) -> None:
    adopter, number = Adopter(tmp_path), tmp_path / "pid"
    text = PARROT.replace("    time.sleep", f"    open({str(number)!r}, 'w').write(str(os.getpid()))\n    time.sleep")
    source = parrot(tmp_path / "theirs", f"import os\n{text}")
    asked = samples(tmp_path / "samples", a__json=b'{"sleep": 600}')
    process = adopter.start(source, asked)
    try:
        wait_for(lambda: number.exists() and number.read_text() != "")
    finally:
        process.kill()
        printed = process.communicate()[0]
    assert "adopted" not in printed
    handler = int(number.read_text())
    wait_for(lambda: has_ended(handler))
    assert not adopter.archive.exists()
    assert not adopter.model_file.exists()
    samples(asked, a__json=b'{"say": 1}')
    assert "1 sample recorded" in adopter.finish(source, asked)


def test_archive_that_is_deleted_before_its_adoption_is_named_and_stops_no_other(tmp_path: Path) -> None:
    config, store = tmp_path / "config", parrot(tmp_path / "store").parent
    make_archive(store, "other", handler_file(tmp_path / "other"))
    for name in ("parrot", "other"):
        samples(tmp_path / "samples" / name, a__json=b"{}")
    ray = loaded(tmp_path, "engine=ray")
    models = (ServedModel(version("parrot"), ()), ServedModel(version("other", url="other.mar"), ()))
    plan = plan_deployment(running(store, *models), tmp_path / "samples", ray, config=config)
    (store / "parrot.mar").unlink()
    outcomes = {model.name: line for model, line, _ in adopt_each(plan, ray, ["engine=ray"], config=config)}
    assert outcomes["parrot"] == f"is not adopted: {store / 'parrot.mar'}: No such file or directory"
    assert outcomes["other"].startswith("is adopted: ")
    assert not (config / "served_model" / "parrot.yaml").exists()


def test_archive_that_is_deleted_while_its_handler_runs_is_adopted_as_it_was_read(tmp_path: Path) -> None:
    source = tmp_path / "theirs" / "parrot.mar"
    parrot(source.parent, f"import os\nif os.path.exists({str(source)!r}): os.unlink({str(source)!r})\n{PARROT}")
    ray: settings.Settings = loaded(tmp_path, "engine=ray")
    plan = plan_adoption(source, samples(tmp_path / "samples", a__json=b"{}"), ray, config=tmp_path / "config")
    done = carry_out(plan, ray, ["engine=ray"])
    assert not source.exists()
    assert done.archive.card["provenance"]["sha256"] == plan.foreign.sha256
    assert is_adopted(plan, ray)
