"""The stack in containers, as users run it: built, started, asked and broken by the make targets and the Docker engine.

`make test_containers` runs this folder; every test in it is marked `containers` and left out of other runs.

Fixtures, all of the session:
  images    variable of compose.yaml -> tag: every image, built by `make build_images` under tags of this checkout's own
  archives  folder with digits.mar and cartpole.mar
  projects  makes a `Project`: a copy of the project in a new folder, with a project name, networks, ports and
            docker/data of its own: `projects("faults")`, `projects("watched", profiles="core,observability")`
  core      a running `Project` of the profile core with both models, shared by all files: a test that changes a version
            or stops a part leaves it as it was
  summary   collects the tables that the run prints at its end: `summary.add(heading, columns, row)`

Helpers:
  project.py  `Project.make(target, status=0, MODEL=...)`, `.run(command...)`, `.container(service)`,
              `.execute(service, command...)`, `.network(name)`, `.logs()`, `.gateway`, `.key`, `.headers` with it;
              `running(project, archives, models)` starts a stack and takes everything down; `engine()` is the Docker
              engine; `cloned()` makes a clone of the last commit
  load.py     `with load(project) as answered:` keeps clients asking; `answered.requests`, `.failures` by kind
  waiting.py  `wait_until_well(project)` returns the seconds until every part is healthy and every model answers
"""

import hashlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from bench.local_stack import completed
from settings.load import ROOT
from tests.containers.project import LONGEST_S, Project, copied, engine, project_in, running
from tests.containers.summary import Summary
from tests.e2e.conftest import new_stack

FOLDER = Path(__file__).parent
PARTS = {
    "TORCHSERVE_IMAGE": "torchserve",
    "GATEWAY_IMAGE": "gateway",
    "DELIVERY_IMAGE": "delivery",
    "FILEBROWSER_IMAGE": "filebrowser",
    "EDGE_IMAGE": "edge",
    "EDGE_MODULE_IMAGE": "edge-module",
}
BASES = ("debian:bookworm-slim", "python:3.11-slim-bookworm")
TAG = f"test-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"
MODELS = ("digits", "cartpole")
SUMMARY, BEGAN = pytest.StashKey[Summary](), pytest.StashKey[float]()


class Projects(Protocol):
    """Makes a copy of the project; nothing is started."""

    def __call__(self, name: str, profiles: str = "core") -> Project:
        """Return it."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SUMMARY], config.stash[BEGAN] = Summary(), time.monotonic()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.containers)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the tables, sizes and minutes after a run of this folder."""
    if "containers" not in str(config.option.markexpr).replace("not containers", ""):
        return
    minutes = (time.monotonic() - config.stash[BEGAN]) / 60
    terminalreporter.section("containers")
    for line in config.stash[SUMMARY].lines(_tags(), minutes):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def summary(pytestconfig: pytest.Config) -> Summary:
    return pytestconfig.stash[SUMMARY]


@pytest.fixture(scope="session")
def images() -> dict[str, str]:
    """Every image, built as users build it."""
    if not all(_at_hand(name) for name in BASES):
        project_in(ROOT, "bases", {}).make("build_bases")
    project_in(ROOT, "build", _tags(), "core").make("build_images")
    return _tags()


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two demo models, trained where they are not yet and packed."""
    folder = tmp_path_factory.mktemp("archives")
    env = new_stack(tmp_path_factory.mktemp("state"), folder).env
    for command in (("demo", "train"), *(("serialize", f"served_model={model}") for model in MODELS)):
        done = completed(("-m", *command), env, LONGEST_S)
        assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture(scope="session")
def projects(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Projects:
    def make(name: str, profiles: str = "core") -> Project:
        return copied(tmp_path_factory.mktemp(name), name, images, profiles)

    return make


@pytest.fixture(scope="session")
def core(projects: Projects, archives: Path) -> Iterator[Project]:
    with running(projects("core"), archives, MODELS) as project:
        yield project


def _tags() -> dict[str, str]:
    return {variable: f"marina-{part}:{TAG}" for variable, part in PARTS.items()}


def _at_hand(image: str) -> bool:
    """Return True when the engine has an image or can fetch it."""
    if engine().images.list(name=image):
        return True
    return subprocess.run(["docker", "pull", "--quiet", image], capture_output=True, check=False).returncode == 0
