"""No panel shows "no data": every query of dashboards and alerts, asked of a Prometheus that watched a real run."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.docker.test_kubernetes_scaling import RULES, asked
from tests.e2e.conftest import Stack, new_stack
from tests.e2e.prometheus_server import PROMETHEUS, Prometheus, prometheus
from tests.edge.served import NGINX_DEV
from tests.observability.queries import OWN, metrics, of_annotations, of_panels, of_rules
from tests.observability.traffic import traffic

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(PROMETHEUS is None, reason="needs prometheus: apt-get install prometheus"),
    NGINX_DEV,
]
# What did not happen in this run: a fault of the engine's own, a request that was lost, a breaker that opened.
SILENT = {"Requests5XX", "marina_gateway_retries_total", "marina_gateway_breaker_state"}
# Told by machines with a GPU only; their row of the dashboard is closed.
SILENT |= {"GPUUtilization", "GPUMemoryUtilization", "GPUMemoryUsed"}
# Told by containers with a memory limit only.
SILENT |= {"OutOfMemoryKills"}
SETTINGS = (
    "gateway.cache.max_entries=1000",
    "+gateway.admission.models.digits=2",
    "edge.parity_states=2000",
)


@pytest.fixture(scope="module")
def watched(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Prometheus]]:
    """A stack of its own with both models and the edge, Prometheus beside it, and requests of every kind."""
    stack = new_stack(tmp_path_factory.mktemp("watched"), archives)
    stack.env["TS_DISABLE_SYSTEM_METRICS"] = "false"  # as in docker/compose.yaml
    ports = {
        "gateway": stack.env["MARINA_GATEWAY_PORT"],
        "torchserve": stack.env["MARINA_METRICS_PORT"],
        "edge": stack.env["MARINA_EDGE_PORT"],
    }
    try:
        stack.run("-m", "stack", "up", *SETTINGS)
        with prometheus(tmp_path_factory.mktemp("prometheus"), ports) as server:
            for model in ("digits", "cartpole"):
                stack.run("upload_model.py", f"served_model={model}", *SETTINGS)
            stack.run("-m", "edge", "served_model=cartpole", *SETTINGS)
            with traffic(stack.gateway, f"http://127.0.0.1:{stack.env['MARINA_EDGE_PORT']}"):
                _until(
                    lambda: server.ask("sum(rate(marina_edge_requests_total[20s])) > 0") and server.ask("MemoryUsed")
                )
                time.sleep(5)  # some turns of Prometheus, of which a rate needs two
                yield stack, server
    finally:
        stack.run("-m", "stack", "down")


def test_every_query_of_the_panels_finds_something(watched: tuple[Stack, Prometheus]) -> None:
    _, server = watched
    empty, dead = [], []
    for query in of_panels():
        found = server.ask(query.filled_in("20s"))
        if not found:
            empty.append(query)
        elif all(series["value"][1] == "NaN" for series in found):
            dead.append(query)
    assert [query for query in empty if not metrics(query).keys() <= SILENT] == []
    assert dead == []


def test_a_rollout_marks_the_time_axis(watched: tuple[Stack, Prometheus]) -> None:
    stack, server = watched
    stack.run("upload_model.py", "served_model=digits", "served_model.request_params.batch_size=8", *SETTINGS)
    rollouts = next(query for query in of_annotations() if query.where == "models: Versions")

    def marked() -> bool:
        found = [series["metric"] for series in server.ask(rollouts.filled_in("20s"))]
        return ("digits", "1.1") in {(labels["model"], labels["version"]) for labels in found}

    _until(marked)
    for query in of_annotations():
        server.ask(query.filled_in("20s"))  # one that Prometheus does not take raises


def test_what_the_autoscaler_asks_finds_its_answer(watched: tuple[Stack, Prometheus]) -> None:
    _, server = watched
    for name in RULES:
        query = asked(name, 'job="gateway"').replace("[1m]", "[20s]")
        # What it says where there is nothing is no answer here.
        found = server.ask(query.removesuffix(" or vector(0)"))
        assert [float(each["value"][1]) >= 0 for each in found] == [True], name
        assert server.ask(query) != []


def test_rules_are_worked_out_and_what_they_ask_for_is_there(watched: tuple[Stack, Prometheus]) -> None:
    _, server = watched
    health = server.rules()
    expected = {query.where for name in ("rules.yml", "alerts.yml") for query in of_rules(name)}
    assert health == dict.fromkeys(expected, "ok")
    for query in of_rules("rules.yml"):
        assert server.ask(query.where), query
    for query in of_rules("alerts.yml"):
        for name in metrics(query).keys() - SILENT - OWN:
            assert server.ask(name), (query.where, name)


def test_a_healthy_run_raises_no_alert_but_that_of_the_flood(watched: tuple[Stack, Prometheus]) -> None:
    _, server = watched
    found = {series["metric"]["alertname"] for series in server.ask('ALERTS{alertstate="pending"}')}
    assert found <= {"RequestsShed", "SlowModel", "MemoryFilling", "DiskFilling"}


def _until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.5)
