"""The profile edge: a policy as C from this machine, compiled and served in containers, and replaced under load."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.containers.conftest import Projects
from tests.containers.load import load
from tests.containers.project import Project, offer, running
from tests.e2e.conftest import new_stack

EXPORT = (".venv/bin/python", "-m", "edge", "export", ".marina/edge_image", "served_model=cartpole")


@pytest.fixture(scope="module")
def edge(projects: Projects, archives: Path) -> Iterator[Project]:
    """The policy edge alone, as docs/containers.md starts it."""
    project = projects("edge", profiles="edge")
    offer(project, archives)
    project.make("compose_secrets")
    assert "cartpole 1.0 is in" in project.run(*EXPORT)
    with running(project) as started:
        yield started


def version(edge: Project) -> str:
    answer = requests.post(f"{edge.edge}/models/cartpole/predict", json=[0, 0, 0.1, 0.5], timeout=10)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == [{"action": 1}]
    return str(answer.json()["version"])


def test_the_exported_policy_answers(edge: Project) -> None:
    assert version(edge) == "1.0"


def test_a_new_policy_under_load_loses_no_request(edge: Project, tmp_path: Path) -> None:
    new_stack(tmp_path / "state", tmp_path).run("-m", "serialize", "served_model=cartpole", "served_model.version=1.1")
    shutil.copy(tmp_path / "cartpole.mar", edge.folder / "model_mars")
    with load(edge, models=["cartpole"], url=edge.edge) as answered:
        edge.make("compose_edge", MODEL="cartpole")
        answered.wait_for_more(1000)
        assert version(edge) == "1.1"
        answered.wait_for_more(1000)
    assert answered.failures == {}
