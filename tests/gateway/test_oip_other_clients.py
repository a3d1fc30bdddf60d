"""The clients of KServe and of MLServer against the protocol: their inference calls over REST and gRPC."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from gateway.examples import PICTURE_BASE64
from tests.gateway.client_environment import client_python
from tests.gateway.engine import SIMPLE, Engine
from tests.gateway.gateway_program import Served, program
from tests.polling import wait_for

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
STATES = [[0.1, 0.2, 0.01, -0.2], [0.0, 0.0, 0.0, 0.0]]
ZEROS = [[0] * 16]
OUT_OF_SIXTEEN = list(range(16))
needs_mlserver = pytest.mark.skipif(sys.version_info >= (3, 13), reason="MLServer 1.7.1 needs Python 3.12 or older")


@pytest.fixture(scope="module")
def served(engine: Engine) -> Iterator[Served]:
    with engine.serving("simple", SIMPLE), program(engine) as started:
        wait_for(lambda: requests.get(f"{started.url}/readyz", timeout=30).status_code == 200)
        yield started


def made(client: str, served: Served, calls: list[dict[str, Any]]) -> list[Any]:
    """What the calls of a client return."""
    python = client_python(HERE / client / "requirements.txt")
    content = {"addresses": {"http": served.url, "grpc": served.grpc}, "calls": calls}
    command = [python, HERE / client / "runner.py"]
    done = subprocess.run(command, input=json.dumps(content), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def flat(values: list[list[Any]]) -> list[Any]:
    return [each for row in values for each in row]


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("protocol", ["v2", "grpc"])
def test_kserves_client_infers_tensors(served: Served, protocol: str, binary: bool) -> None:
    states = {"name": "observation", "datatype": "FP32", "shape": [2, 4], "data": flat(STATES)}
    numbers = [
        {"name": name, "datatype": "INT32", "shape": [1, 16], "data": OUT_OF_SIXTEEN} for name in ("INPUT0", "INPUT1")
    ]
    asked = {"cartpole": [states], "simple": numbers}
    calls = [
        {"protocol": protocol, "method": "infer", "model_name": model, "data": data, "binary": binary}
        for model, data in asked.items()
    ]
    policy, simple = made("kserve", served, calls)
    assert policy == {"id": "order-66", "model": "cartpole", "outputs": {"action": [1, 1]}}
    assert simple["outputs"] == {"OUTPUT0": ZEROS, "OUTPUT1": ZEROS}


@pytest.mark.parametrize("protocol", ["v2", "grpc"])
def test_kserves_client_sees_states_and_errors(served: Served, protocol: str) -> None:
    state = {"name": "observation", "datatype": "FP32", "shape": [1, 3], "data": [0.0] * 3}
    wrong: dict[str, Any] = {"method": "infer", "data": [state], "binary": False}
    calls: list[dict[str, Any]] = [
        {"method": "is_server_live"},
        {"method": "is_server_ready"},
        *({"method": "is_model_ready", "model_name": name} for name in ("cartpole", "idle")),
        {**wrong, "model_name": "cartpole"},
        {**wrong, "model_name": "nobody"},
    ]
    live, ready, model, idle, unfit, unknown = made("kserve", served, [{"protocol": protocol} | each for each in calls])
    assert (live, ready, model, idle) == (True, True, True, False)
    assert "expected [-1, 4], got [1, 3]" in unfit
    assert "no model nobody is registered" in unknown
    assert [each.split(":")[0] for each in (unfit, unknown)] == (
        ["400", "404"] if protocol == "v2" else ["INVALID_ARGUMENT", "NOT_FOUND"]
    )


@needs_mlserver
@pytest.mark.parametrize("over", ["rest", "grpc", "raw"])
def test_mlservers_types_and_stubs_infer_tensors(served: Served, over: str) -> None:
    numbers = {"values": [OUT_OF_SIXTEEN], "dtype": "int32"}
    asked = {
        "cartpole": {"observation": {"values": STATES, "dtype": "float32"}},
        "simple": {"INPUT0": numbers, "INPUT1": numbers},
        "digits": {"image": [PICTURE_BASE64]},
        "nobody": {"image": [PICTURE_BASE64]},
    }
    calls = [{"over": over, "method": "infer", "model": model, "tensors": tensors} for model, tensors in asked.items()]
    policy, simple, picture, unknown = made("mlserver", served, calls)
    assert policy == {"id": "order-66", "model": "cartpole", "version": "1.0", "outputs": {"action": [1, 1]}}
    assert simple["outputs"] == {"OUTPUT0": ZEROS, "OUTPUT1": ZEROS}
    assert picture["outputs"] == {"probabilities": [[0.25, 0.75]], "label": ["7"], "confidence": [0.75]}
    assert unknown.startswith("404: " if over == "rest" else "NOT_FOUND: ")
    assert "no model nobody is registered" in unknown


@needs_mlserver
@pytest.mark.parametrize("over", ["rest", "grpc"])
def test_mlservers_types_hold_what_the_server_says_of_itself(served: Served, over: str) -> None:
    calls: list[dict[str, Any]] = [
        {"method": "server"},
        {"method": "index"},
        *({"method": "ready", "model": name} for name in ("digits", "idle")),
        {"method": "model", "model": "simple"},
    ]
    server, index, ready, idle, model = made("mlserver", served, [{"over": over} | each for each in calls])
    assert server["name"] == "marina"
    assert {"cartpole", "digits", "simple"} <= set(index)
    assert (ready, idle) == (True, False)
    assert [(each["name"], each["datatype"], each["shape"]) for each in model["inputs"]] == [
        ("INPUT0", "INT32", [-1, 16]),
        ("INPUT1", "INT32", [-1, 16]),
    ]


@needs_mlserver
@pytest.mark.parametrize("binary", [False, True])
def test_mlservers_command_infers_a_file_of_requests(served: Served, tmp_path: Path, binary: bool) -> None:
    tensor = {"name": "observation", "datatype": "FP32", "shape": [1, 4]}
    lines = [json.dumps({"id": str(at), "inputs": [{**tensor, "data": state}]}) for at, state in enumerate(STATES * 8)]
    sent, answered = tmp_path / "requests.jsonl", tmp_path / "answers.jsonl"
    sent.write_text("\n".join(lines))
    command: list[str | Path] = [client_python(HERE / "mlserver" / "requirements.txt").with_name("mlserver"), "infer"]
    command += ["-u", served.http, "-m", "cartpole", "-i", sent, "-o", answered, "-s", "4", "-w", "2"]
    command += ["-b"] if binary else []
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in answered.read_text().splitlines()]
    assert sorted(int(each["id"]) for each in found) == list(range(16))
    assert {str(each["outputs"][0]["data"]) for each in found} == {"[1]"}, done.stderr
