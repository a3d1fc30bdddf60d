"""A second stack beside the first: a clone under umask 077, with a name, ports and keys of its own."""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from tests.containers.project import Project, cloned, running
from tests.containers.waiting import wait_until_well

TARGETS = ("compose_up", "compose_update", "compose_upload", "compose_rollback", "compose_down")
STATE = [0, 0, 0.1, 0.5]


@pytest.fixture(scope="module")
def second(images: dict[str, str], archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    before = os.umask(0o077)
    try:
        project = cloned(tmp_path_factory.mktemp("clone") / "marina", "second", images)
        (project.folder / "model_mars").mkdir()
        for archive in archives.iterdir():
            (project.folder / "model_mars" / archive.name).write_bytes(archive.read_bytes())
        assert (project.folder / "config" / "config.yaml").stat().st_mode & 0o077 == 0
        with running(project, None, ("cartpole",)):
            yield project
    finally:
        os.umask(before)


def predict(project: Project, headers: dict[str, str]) -> int:
    url = f"{project.gateway}/models/cartpole/predict"
    return requests.post(url, json=STATE, headers=headers, timeout=30).status_code


def test_two_stacks_answer_side_by_side(core: Project, second: Project) -> None:
    wait_until_well(core)
    for one, other in ((core, second), (second, core)):
        assert predict(one, one.headers) == 200
        assert predict(one, other.headers) == 401


def test_stack_under_umask_077_reads_its_configuration(second: Project) -> None:
    assert second.get("/models/cartpole").json()["name"] == "cartpole"
    secrets = (second.folder / "docker" / "secrets").iterdir()
    assert {path.name for path in secrets if path.stat().st_mode & 0o077} == set()


@pytest.mark.parametrize("target", TARGETS)
def test_name_of_another_folders_stack_is_refused(core: Project, second: Project, target: str) -> None:
    before = {each.id for each in core.containers()}
    impostor = replace(second, env={**second.env, "COMPOSE_PROJECT_NAME": core.name})
    said = impostor.make(target, status=2, MODEL="cartpole")
    assert re.search(f"error: the stack {core.name} is that of {core.folder}/docker; .*COMPOSE_PROJECT_NAME=", said)
    assert {each.id for each in core.containers()} == before
    assert predict(core, core.headers) == 200


def test_second_name_for_one_folder_is_refused(second: Project) -> None:
    other = replace(second, env={**second.env, "COMPOSE_PROJECT_NAME": f"{second.name}-other"})
    assert "two cannot share its data" in other.make("compose_up", status=2)
    assert other.containers() == []
