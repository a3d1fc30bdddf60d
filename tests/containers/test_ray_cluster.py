"""engine=ray on a cluster of containers: a head, two nodes and the project's other parts, broken under load."""

import contextlib
import itertools
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.containers import disturbances
from tests.containers.conftest import MODELS, TAG, Projects
from tests.containers.disturbances import first_pid, wait_until_restarted
from tests.containers.fault_trial import NOTHING, OF_ENGINE, Cost, Fault, endure
from tests.containers.load import CLIENTS
from tests.containers.project import Project, offer
from tests.containers.summary import Summary
from tests.e2e.uploads import DELAY
from tests.polling import wait_for

COMPOSE = ("docker", "compose", "--env-file", "docker/.env", "-f", "tests/containers/ray/compose.yaml")
CORE = ("--profile", "core")
NODES = ("node-1", "node-2")
WORKERS = "served_model.request_params.initial_workers=2"
DELAYS = itertools.count(10)
"""Milliseconds that no upload had: other settings make another version."""
NETWORK = ["engine"]
SECONDS = 600.0  # a new cluster of three nodes, on two cores that tests share


@pytest.fixture(scope="module")
def cluster(projects: Projects, archives: Path) -> Iterator[Project]:
    """The cluster with two workers of each model; it may be damaged."""
    made = projects("ray")
    offer(made, archives)
    own = {"RAY_IMAGE": f"marina-ray:{TAG}", "MARINA_RAY_TOKEN": secrets.token_hex(32)}
    project = replace(made, env=made.env | own)
    try:
        project.make("build_ray")
        project.make("compose_secrets")
        project.run(*COMPOSE, *CORE, "up", "--detach", "--wait", "--wait-timeout", f"{SECONDS:.0f}")
        roll_out(project)
        yield project
    finally:
        project.remove()


def roll_out(project: Project) -> None:
    """Give each model a new version, whose two workers Ray spreads over the nodes that are there."""
    for model in MODELS:
        new = f"{DELAY}={next(DELAYS)}"
        project.execute("delivery", "python", "upload_model.py", f"served_model={model}", WORKERS, new)
    wait_for(lambda: sum(workers(project, node) for node in NODES) == len(MODELS) * len(NODES), SECONDS)


def workers(project: Project, node: str) -> int:
    """Return how many workers of models run in a node's container."""
    found = 0
    for process in psutil.Process(first_pid(project, node)).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            title = " ".join(process.cmdline())
            found += title.startswith("ray::ServeReplica") and ":Worker" in title
    return found


@pytest.fixture
def spread(cluster: Project) -> Project:
    """The cluster with a worker of each model on each node: Ray moves none to a node that has returned."""
    deadline = time.monotonic() + SECONDS
    while any(workers(cluster, node) != len(MODELS) for node in NODES):
        assert time.monotonic() < deadline, "Ray does not spread the workers"
        roll_out(cluster)
    return cluster


def killed(project: Project, part: str) -> None:
    before = first_pid(project, part)
    disturbances.kill(project, part)
    wait_until_restarted(project, part, before)


def manager_killed(project: Project) -> None:
    disturbances.kill(project, "head", "-m engines.ray engine")


FAULTS: Sequence[Fault] = (
    Fault("Ray: a node cut off for 20 s", partial(disturbances.cut, part="node-1", networks=NETWORK), OF_ENGINE),
    Fault(
        "Ray: a node disconnected for 20 s",
        partial(disturbances.disconnect, part="node-2", networks=NETWORK),
        OF_ENGINE,
    ),
    Fault("Ray: a node killed", partial(killed, part="node-1"), Cost(inside=CLIENTS)),
    Fault("Ray: the manager killed", manager_killed, NOTHING),
    Fault("Ray: the head killed", partial(killed, part="head"), OF_ENGINE),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_of_the_cluster_loses_nothing_but_what_was_inside_it(
    spread: Project, fault: Fault, summary: Summary
) -> None:
    endure(spread, fault, summary, SECONDS)


def test_a_rollout_after_the_faults_succeeds(spread: Project) -> None:
    roll_out(spread)
