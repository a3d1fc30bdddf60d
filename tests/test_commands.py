"""Every program answers `--help`, `--version` and `--cfg job`."""

import os
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import commands
from errors import ConfigError
from settings import Settings

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ("app", "stress", "upload_model")
MODULES = (
    "archive",
    "bench.capacity",
    "bench.edge",
    "bench.engines",
    "bench.forward",
    "bench.gateway",
    "bench.growth",
    "bench.handlers",
    "bench.networks",
    "bench.peers",
    "bench.swaps",
    "bench.tracing",
    "bench.tune",
    "delivery",
    "demo",
    "edge",
    "engines.ray",
    "engines.ray.head_container",
    "gateway.apikey",
    "loadtest.tune",
    "serialize",
    "serialize.download",
    "stack",
    "stack.bases",
    "stack.compose",
    "stack.docker_plugins",
    "stack.edge_container",
    "stack.kubernetes",
    "stack.sbom",
    "stack.setup",
    "stack.torch_download",
    "stack.torchserve_container",
)
CHILD = "engines.torchserve.process"  # not for a command line: its arguments are those of TorchServe's launcher
Run = Callable[..., tuple[int | str | None, str]]

pytestmark = pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a program in this process, as `python -m NAME WORDS` does; returns its exit status and standard output."""

    def run(name: str, *words: str) -> tuple[int | str | None, str]:
        monkeypatch.setattr(sys, "argv", [name, *words])
        monkeypatch.setattr(os, "_exit", sys.exit)
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        return ended.value.code, capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", SCRIPTS + MODULES)
def test_program_answers_the_standard_options(run: Run, name: str) -> None:
    status, out = run(name, "--help")
    assert status == 0
    assert out.startswith("usage: ")
    assert "--cfg job" in " ".join(out.split())
    assert run(name, "--version") == (0, f"marina {commands.VERSION}\n")
    status, out = run(name, "gateway.port=5999", "--cfg", "job")
    assert status == 0
    assert Settings.model_validate(yaml.safe_load(out)).gateway.port == 5999


def test_list_of_programs_is_complete() -> None:
    documents = [ROOT / "Makefile", ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.*")]
    text = "\n".join(path.read_text() for path in documents if path.is_file())
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    named = {
        name for name in re.findall(r"(?:python3?|\(PY(?:THON)?\)) -m ([\w.]*\w)", text) if name.split(".")[0] in rooms
    }
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("[a-z]*/**/__main__.py")}
    assert (named | packages) - {CHILD} == set(MODULES)


def test_cfg_job_translates_short_options(run: Run) -> None:
    _, out = run("loadtest.tune", "slo=p99:80ms", "--dry-run", "--cfg", "job")
    assert yaml.safe_load(out)["tune"]["slo"] == "p99:80ms"
    assert yaml.safe_load(out)["tune"]["dry_run"] is True
    assert run("delivery", "put", "FILE.mar", "--cfg", "job")[1] == run("delivery", "--cfg", "job")[1]


def test_cfg_of_anything_else_and_a_wrong_override_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.standard_option(["--cfg", "hydra"], "usage") == 2
    assert capsys.readouterr().err == "error: --cfg prints one thing, the settings: write `--cfg job`\n"
    with pytest.raises(ConfigError, match=r"gateway\.prot"):
        commands.standard_option(["--cfg", "job", "gateway.prot=1"], "usage")


def test_script_ends_with_one_line_for_a_wrong_override() -> None:
    done = subprocess.run(
        [sys.executable, "upload_model.py", "gateway.prot=1", "--cfg", "job"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: command line: unknown key 'gateway.prot'")
    assert done.stderr.count("\n") == 1


def test_version_of_the_project_is_read_from_commands() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "commands.VERSION"}


@pytest.mark.parametrize("size", [10, 100_000], ids=["small output", "large output"])
def test_run_output_that_the_reader_closes_ends_quietly(size: int) -> None:
    program = f"import sys, commands\nsys.exit(commands.run(lambda words: print('x' * {size}) or 0, None))"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=closed, stderr=subprocess.PIPE, cwd=ROOT, check=False
        )
    assert (done.returncode, done.stderr) == (commands.OUTPUT_CLOSED, b"")


def test_run_another_broken_pipe_is_no_closed_output() -> None:
    program = "import sys, commands\ndef main(words): raise BrokenPipeError\nsys.exit(commands.run(main, None))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert "BrokenPipeError" in done.stderr


def test_kubernetes_tags_of_own_images_are_the_version() -> None:
    folder = ROOT / "docker" / "kubernetes"
    text = "\n".join(path.read_text() for path in folder.rglob("*.yaml"))
    tags = re.findall(r"name: marina-\w+, newTag: (\d[\w.-]*)|image: marina-\w+:(\d[\w.-]*)", text)
    assert tags
    assert {one or other for one, other in tags} == {commands.VERSION}
