"""The two gateways behind nginx: replaced under load, stopped, and what the way through nginx changes and costs."""

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
import requests

from bench.local_stack import free_ports
from gateway.apikey import new_key
from gateway.oip import open_inference_pb2 as pb
from tests.containers.load import load
from tests.containers.project import Project
from tests.containers.summary import Summary
from tests.containers.waiting import troubles, wait_until_well
from tests.gateway.gateway_program import stub
from tests.polling import wait_for

STATE = [0, 0, 0.1, 0.5]
PAIRS = 500  # requests on each way


def predict(core: Project, key: str, url: str = "") -> requests.Response:
    url = f"{url or core.gateway}/models/cartpole/predict"
    return requests.post(url, json=STATE, headers={"X-Api-Key": key}, timeout=30)


@contextmanager
def stopped(core: Project, *services: str) -> Iterator[None]:
    for service in services:
        core.container(service).stop()
    try:
        yield
    finally:
        for service in services:
            core.container(service).start()
        wait_until_well(core)


def test_an_update_loses_no_request_and_brings_new_settings(core: Project, summary: Summary) -> None:
    key, digest = new_key()
    settings = core.folder / "docker" / "secrets" / "gateway" / "default.yaml"
    text = settings.read_text()
    settings.write_text(f"{text.rstrip()}\n      - {{name: slow, sha256: {digest}, rate: 5/hour}}\n")
    before = {name: core.container(name).id for name in ("gateway", "gateway-spare")}
    assert predict(core, key).status_code == 401
    with load(core) as answered:
        core.make("compose_update")
        answered.wait_for_more(500)
    assert all(core.container(name).id != old for name, old in before.items())
    summary.add(
        "make compose_update", ("requests", "failures"), (str(answered.requests), str(sum(answered.failures.values())))
    )
    assert answered.failures == {}
    # One gateway answers at a time, so the rate of a key is exact, and that of another client is its own.
    assert predict(core, core.key).status_code == 200
    statuses = [predict(core, key).status_code for _ in range(12)]
    assert statuses == [200] * 5 + [429] * 7
    assert predict(core, core.key).status_code == 200
    settings.write_text(text)


def test_the_spare_gateway_answers_for_the_first(core: Project) -> None:
    with load(core) as answered:
        with stopped(core, "gateway"):
            answered.wait_for_more(500)
        answered.wait_for_more(500)
    assert answered.failures == {}


def test_requests_leave_a_gateway_that_hangs(core: Project, summary: Summary) -> None:
    front, gateway = core.container("front"), core.container("gateway")
    began = time.time()

    def found() -> list[str]:
        lines = front.logs(stream=False, since=began).decode().splitlines()
        return [json.loads(line)["gateways"] for line in lines if '"gateways_in_use"' in line]

    gateway.pause()
    try:
        wait_for(lambda: found() == ["only_spare"])
        turned = time.time() - began
        assert {predict(core, core.key).status_code for _ in range(50)} == {200}
        with grpc.insecure_channel(core.gateway_grpc) as channel:
            assert stub(channel).ServerLive(pb.ServerLiveRequest(), timeout=10).live
    finally:
        gateway.unpause()
    wait_for(lambda: found() == ["only_spare", "both"])
    summary.add("a gateway that hangs", ("requests turn to the spare one after",), (f"{turned:.1f} s",))


def test_without_a_gateway_clients_get_503_in_its_form(core: Project) -> None:
    with stopped(core, "gateway", "gateway-spare"):
        answer = requests.get(f"{core.gateway}/models", headers={**core.headers, "X-Request-Id": "mine"}, timeout=30)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.headers["X-Request-Id"] == "mine"
        assert answer.json()["error"] == "no_worker"
        assert answer.json()["request_id"] == "mine"
        with grpc.insecure_channel(core.gateway_grpc) as channel, pytest.raises(grpc.RpcError) as error:
            stub(channel).ServerLive(pb.ServerLiveRequest(), timeout=10)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("size", [20 << 20, 70 << 20], ids=["the gateway", "nginx"])
def test_a_body_that_is_too_large_is_413(core: Project, size: int) -> None:
    url = f"{core.gateway}/models/digits/predict"
    headers = {**core.headers, "Content-Type": "image/png"}
    answer = requests.post(url, data=b"x" * size, headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")


def test_request_ids_and_deadlines_pass_through(core: Project) -> None:
    headers = {**core.headers, "X-Request-Id": "abc-1", "X-Deadline-Ms": "30000"}
    answer = requests.post(f"{core.gateway}/models/cartpole/predict", json=STATE, headers=headers, timeout=30)
    assert (answer.status_code, answer.headers["X-Request-Id"]) == (200, "abc-1")


def test_the_way_through_nginx_is_measured(core: Project, summary: Summary, tmp_path: Path) -> None:
    """One client asks the same gateway on both ways in turn; the gateway is published beside nginx for that."""
    [port] = free_ports(1)
    override = tmp_path / "direct.yaml"
    services = {"gateway": {"networks": {"front": {}}, "ports": [f"127.0.0.1:{port}:5003"]}}
    override.write_text(json.dumps({"services": services}))
    files = ("-f", "docker/compose.yaml", "-f", str(override))
    core.run("docker", "compose", *files, "--profile", "core", "up", "-d", "--no-deps", "--wait", "gateway")
    try:
        ways = {"direct": f"http://127.0.0.1:{port}", "nginx": core.gateway}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        sessions = {name: requests.Session() for name in ways}
        for _ in range(PAIRS):
            for name, url in ways.items():
                began = time.perf_counter()
                answer = sessions[name].post(f"{url}/models/cartpole/predict", json=STATE, headers=core.headers)
                seconds[name].append(time.perf_counter() - began)
                assert answer.status_code == 200
        direct, nginx = (1000 * statistics.median(seconds[name]) for name in ways)
        columns = ("median of one observation, direct", "through nginx", "ratio")
        summary.add("the way through nginx", columns, (f"{direct:.2f} ms", f"{nginx:.2f} ms", f"{nginx / direct:.2f}"))
    finally:
        core.make("compose_up")


def test_all_parts_replaced_at_once_are_healthy_when_the_models_serve(core: Project, summary: Summary) -> None:
    with load(core) as answered:
        began = time.perf_counter()
        core.make("compose_up", ARGS="--force-recreate")
        assert troubles(core) == []
    lost = sum(answered.failures.values())
    last = answered.last_failure
    away = f"{last - began:.0f} s" if last is not None else "0 s"
    columns = ("requests", "failures", "until the last failure")
    summary.add("make compose_up ARGS=--force-recreate", columns, (str(answered.requests), str(lost), away))
