"""Prometheus of the profile observability, from Debian's package, beside a real run: targets, rules, and dashboards.

PROMETHEUS_IMAGE in the environment names another image, such as that of docker/compose.yaml.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import requests

from tests.containers.conftest import MODELS, Projects
from tests.containers.project import Project, built, running
from tests.containers.test_edge import EXPORT
from tests.e2e.prometheus_server import Prometheus
from tests.observability.queries import OWN, metrics, of_annotations, of_panels, of_rules
from tests.observability.traffic import traffic
from tests.polling import wait_for

SERVICES = ("torchserve", "filebrowser", "front", "gateway", "gateway-spare", "delivery", "prometheus")
# What did not happen in this run: a fault of the engine's own, a request that was lost, a breaker that opened, a GPU.
SILENT = {"Requests5XX", "marina_gateway_retries_total", "marina_gateway_breaker_state"}
SILENT |= {"OutOfMemoryKills", "GPUUtilization", "GPUMemoryUtilization", "GPUMemoryUsed"}
WINDOW = "1m"  # four scrapes, as Grafana chooses it


@dataclass(frozen=True)
class Watched:
    """A running stack and its Prometheus."""

    project: Project
    server: Prometheus

    def targets(self) -> dict[str, str]:
        """Return the health of each target by its address."""
        found = requests.get(f"{self.server.url}/api/v1/targets", timeout=30).json()["data"]["activeTargets"]
        return {target["labels"]["instance"]: target["health"] for target in found}


def watching(project: Project) -> Watched:
    """Return the stack with its Prometheus, which is not published: this machine reaches it on its network."""
    networks = project.container("prometheus").attrs["NetworkSettings"]["Networks"]
    return Watched(project, Prometheus(f"http://{networks[f'{project.name}_observe']['IPAddress']}:9090"))


@pytest.fixture(scope="module")
def watched(projects: Projects, archives: Path) -> Iterator[Watched]:
    """The profile core and Prometheus alone; both models, the gateway's cache and a limit of pictures."""
    project = projects("watched", profiles="core,observability")
    image = os.environ.get("PROMETHEUS_IMAGE") or built("prometheus", Path(__file__).parent / "prometheus")
    project = replace(project, env={**project.env, "PROMETHEUS_IMAGE": image})
    project.make("compose_secrets")
    with (project.folder / "docker/secrets/gateway/default.yaml").open("a") as settings:
        settings.write("  cache: {max_entries: 1000}\n  admission: {models: {digits: 2}}\n")
    with running(project, archives, MODELS, SERVICES) as started:
        yield watching(started)


@pytest.fixture(scope="module")
def asked(watched: Watched) -> Iterator[Watched]:
    """The same with the edge, under requests of every kind."""
    project = replace(watched.project, profiles="core,observability,edge")
    project.run(*EXPORT, "edge.parity_states=2000")
    project.start(*SERVICES, "edge")
    found = watching(project)
    with traffic(project.gateway, project.edge, project.headers):
        wait_for(lambda: found.targets().get("edge:5005") == "up")
        ask = found.server.ask
        wait_for(lambda: bool(ask(f"sum(rate(marina_edge_requests_total[{WINDOW}])) > 0") and ask("MemoryUsed")))
        yield found


def test_every_target_is_up_and_the_log_has_no_error_without_the_edge(watched: Watched) -> None:
    wait_for(lambda: set(watched.targets().values()) == {"up"})
    assert {"gateway:5003", "gateway-spare:5003", "torchserve:8082"} <= watched.targets().keys()
    written = watched.project.container("prometheus").logs().decode()
    assert [line for line in written.splitlines() if re.search(r"level=(warn|error)", line, re.IGNORECASE)] == []


def test_every_rule_is_loaded_and_well(watched: Watched) -> None:
    expected = {query.where for name in ("rules.yml", "alerts.yml") for query in of_rules(name)}
    wait_for(lambda: set(watched.server.rules().values()) == {"ok"})
    assert watched.server.rules().keys() == expected


def test_every_expression_of_the_dashboards_finds_something(asked: Watched) -> None:
    def empty() -> list[str]:
        found = {query: asked.server.ask(query.filled_in(WINDOW)) for query in of_panels()}
        return [query.where for query, series in found.items() if not series and not metrics(query).keys() <= SILENT]

    wait_for(lambda: empty() == [])


def test_what_alerts_and_marks_ask_for_is_there(asked: Watched) -> None:
    for query in of_annotations():
        asked.server.ask(query.filled_in(WINDOW))  # one that Prometheus does not take raises
    for query in of_rules("alerts.yml"):
        for name in metrics(query).keys() - SILENT - OWN:
            assert asked.server.ask(name), (query.where, name)
