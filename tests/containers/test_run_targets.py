"""`make run_ts_cpu` and `make run_edge`: one part in its container, the others as local processes."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import requests

from bench.local_stack import free_ports
from tests.containers.conftest import Projects
from tests.containers.project import Project, engine, offer
from tests.e2e.conftest import PORTS
from tests.polling import wait_for

STATE = [0, 0, 0.1, 0.5]
SECONDS = 300
# Fewer states than usual: tests of the edge compare enough of them.
RUN_EDGE = ("make", "run_edge", "MODEL=cartpole", "ARGS=edge.parity_states=1000")


@pytest.fixture
def new_project(projects: Projects, archives: Path) -> Callable[[str], Project]:
    """Makes a copy of the project with ports of its own for every part."""

    def make(name: str) -> Project:
        made = projects(name)
        offer(made, archives)
        return replace(made, env=made.env | dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True)))

    return make


@contextlib.contextmanager
def foreground(project: Project, *command: str) -> Iterator[Path]:
    """Run a command under umask 077 until Ctrl-C at the end of the block, and yield the file of its output."""
    output = project.folder / f"{command[1]}.out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=project.folder, env=project.env, stdout=file, stderr=file, start_new_session=True, umask=0o077
        )
    try:
        yield output
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)


def has(file: Path, text: str) -> bool:
    return text in file.read_text()


def predicted(url: str) -> bool:
    try:
        return requests.post(url, json=STATE, timeout=10).status_code == 200
    except requests.ConnectionError:
        return False


def of_image(image: str) -> list[str]:
    return [str(each.name) for each in engine().containers.list(filters={"ancestor": image}, ignore_removed=True)]


def test_torchserve_in_its_container_takes_the_place_of_the_local_one_and_leaves_nothing(
    new_project: Callable[[str], Project],
) -> None:
    project = new_project("run")
    image, before = project.env["TORCHSERVE_IMAGE"], of_image(project.env["TORCHSERVE_IMAGE"])
    url = f"http://127.0.0.1:{project.env['MARINA_GATEWAY_PORT']}/models/cartpole/predict"
    with foreground(project, "make", "run_nginx_filebrowser"), foreground(project, "make", "run_app"):
        for _ in range(2):  # the second one starts without the keys and archives of the first
            with foreground(project, "make", "run_ts_cpu") as output:
                wait_for(partial(has, output, "Model server started"), SECONDS)
                printed = project.run("make", "upload_model", "MODEL=cartpole")
                assert "the engine's copy of cartpole" in printed
                wait_for(lambda: predicted(url), SECONDS)
            assert of_image(image) == before


def test_two_projects_have_an_edge_each_and_a_second_call_reloads_the_projects_own(
    new_project: Callable[[str], Project],
) -> None:
    first, second = new_project("edge"), new_project("edge2")
    urls = [f"http://127.0.0.1:{each.env['MARINA_EDGE_PORT']}/models/cartpole/predict" for each in (first, second)]
    image, before = first.env["EDGE_IMAGE"], of_image(first.env["EDGE_IMAGE"])
    with (
        foreground(first, *RUN_EDGE),
        foreground(second, *RUN_EDGE),
    ):
        wait_for(lambda: all(map(predicted, urls)), SECONDS)
        running = of_image(image)
        assert len(running) == len(before) + 2
        assert "serves the new policy" in second.run(*RUN_EDGE)
        assert of_image(image) == running
        assert all(map(predicted, urls))
    assert of_image(image) == before


def test_a_missing_image_names_the_target_that_builds_it(new_project: Callable[[str], Project]) -> None:
    project = new_project("missing")
    printed = project.run("make", "run_ts_cpu", "TORCHSERVE_IMAGE=marina-nowhere:1", status=2)
    assert "error: no image marina-nowhere:1; `make build_ts_cpu` builds it" in printed
