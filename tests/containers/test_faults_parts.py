"""Each part killed, paused, cut off from its networks, stopped and started, under load."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from settings.load import ROOT
from tests.containers import disturbances
from tests.containers.conftest import MODELS, Projects
from tests.containers.disturbances import first_pid, wait_until_restarted
from tests.containers.fault_trial import NOTHING, OF_ALL, OF_ENGINE, OF_GATEWAY, OF_WAY_IN, Fault, endure
from tests.containers.project import Project, running
from tests.containers.summary import Summary

SERVICES = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
PARTS = {name: sorted(each["networks"]) for name, each in SERVICES.items() if "core" in each.get("profiles", ())}
ENGINE, WAY_IN = "torchserve", "front"
COSTS = {ENGINE: OF_ENGINE, WAY_IN: OF_WAY_IN, "gateway": OF_GATEWAY}
# Programs inside TorchServe's container.
INNER = {"java": "Java", "model_service_worker": "the workers"}


@pytest.fixture(scope="module")
def stack(projects: Projects, archives: Path) -> Iterator[Project]:
    """A stack that may be damaged."""
    with running(projects("faults"), archives, MODELS) as project:
        yield project


def killed(project: Project, part: str) -> None:
    before = first_pid(project, part)
    disturbances.kill(project, part)
    wait_until_restarted(project, part, before)


def faults() -> Iterator[Fault]:
    for part, networks in PARTS.items():
        cost = COSTS.get(part, NOTHING)
        yield Fault(f"{part} killed", partial(killed, part=part), cost)
        yield Fault(f"{part} paused for 20 s", partial(disturbances.pause, part=part), cost)
        yield Fault(f"{part} stopped and started", partial(disturbances.stop_and_start, part=part), cost)
        for chosen in [*([each] for each in networks if len(networks) > 1), networks]:
            cut = partial(disturbances.cut, part=part, networks=chosen)
            yield Fault(f"{part} cut off from {' and '.join(chosen)} for 20 s", cut, cost)
        lost = partial(disturbances.disconnect, part=part, networks=networks)
        yield Fault(f"{part} disconnected from all networks for 20 s", lost, cost)
    for program, name in INNER.items():
        within = partial(disturbances.kill, part=ENGINE, program=program)
        yield Fault(f"{name} of {ENGINE} killed", within, OF_ENGINE)
    yield Fault("`compose_down` and `compose_up`", disturbances.down_and_up, OF_ALL)


@pytest.mark.parametrize("fault", list(faults()), ids=lambda fault: fault.name)
def test_a_fault_of_a_part_loses_nothing_but_what_was_inside_it(stack: Project, fault: Fault, summary: Summary) -> None:
    endure(stack, fault, summary)
