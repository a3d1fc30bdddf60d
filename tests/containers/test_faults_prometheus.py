"""Faults of Prometheus, under load: clients notice none of them, and it records again afterwards."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.containers import disturbances
from tests.containers.conftest import MODELS, Projects
from tests.containers.disturbances import first_pid, wait_until_restarted
from tests.containers.fault_trial import Fault, endure
from tests.containers.project import Project, built, running
from tests.containers.summary import Summary
from tests.polling import wait_for
from tests.small_disk import SmallDisk, small_disk

PART, DATA = "prometheus", "docker/data/prometheus"
SERVICES = ("torchserve", "filebrowser", "front", "gateway", "gateway-spare", "delivery", PART)
NETWORKS = ("observe", "watch", "watch_edge")


@pytest.fixture(scope="module")
def disk(projects: Projects) -> Iterator[tuple[Project, SmallDisk]]:
    """A copy of the project with a small file system for Prometheus' data."""
    made = projects("prometheus", profiles="core,observability")
    image = os.environ.get("PROMETHEUS_IMAGE") or built(PART, Path(__file__).parent / PART)
    env = made.env | {"PROMETHEUS_IMAGE": image, "MARINA_PROMETHEUS_DATA": "./data/prometheus"}
    project = replace(made, env=env)
    project.make("compose_secrets")
    (project.folder / DATA).mkdir(parents=True, exist_ok=True)
    with small_disk(project.folder / DATA, 64 * 1024) as mounted:
        (project.folder / DATA).chmod(0o1777)
        yield project, mounted


@pytest.fixture(scope="module")
def stack(disk: tuple[Project, SmallDisk], archives: Path) -> Iterator[Project]:
    with running(disk[0], archives, MODELS, SERVICES) as project:
        yield project


def killed(project: Project) -> None:
    before = first_pid(project, PART)
    disturbances.kill(project, PART)
    wait_until_restarted(project, PART, before)


FAULTS = [
    Fault(f"{PART} killed", killed),
    Fault(f"{PART} paused for 20 s", partial(disturbances.pause, part=PART)),
    Fault(f"{PART} stopped and started", partial(disturbances.stop_and_start, part=PART)),
    Fault(f"{PART} cut off from all networks for 20 s", partial(disturbances.cut, part=PART, networks=NETWORKS)),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_of_prometheus_costs_clients_nothing(stack: Project, fault: Fault, summary: Summary) -> None:
    endure(stack, fault, summary)


def test_a_full_volume_of_prometheus_costs_clients_nothing_and_it_records_again_afterwards(
    stack: Project, disk: tuple[Project, SmallDisk], summary: Summary
) -> None:
    def happen(project: Project) -> None:
        disk[1].fill()
        try:
            wait_for(lambda: b"no space left" in project.container(PART).logs())
        finally:
            disk[1].free()

    endure(stack, Fault(f"{PART}'s volume full", happen), summary)
    before = recorded(stack)
    wait_for(lambda: recorded(stack) > before)


def recorded(project: Project) -> float:
    """Return the time of the newest sample of the gateway's requests; 0 without one."""
    query = "max(timestamp(marina_gateway_request_seconds_count))"
    address = f"http://prometheus-observe:9090/api/v1/query?query={query}"
    found = json.loads(project.execute(PART, "wget", "-qO-", address))["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0
