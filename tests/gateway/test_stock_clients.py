"""The documented curl lines of TorchServe's inference API, and the calls of KServe's own client, before a TorchServe.

The lines are those of its page `inference_api.md`; only host and port differ, and the files hold other pictures.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.examples import PICTURE, PICTURE_BASE64
from tests.gateway.client_environment import client_python
from tests.gateway.engine import VISION, Engine
from tests.gateway.served import gateway_for

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
ADOPTED = {"kind": "adopted", "content_types": ["multipart/form-data"]}
INSTANCES = {"instances": [{"data": PICTURE_BASE64, "target": 0}]}
TWO_FILES = "-F 'data=@docs/images/dogs-before.jpg' -F 'data=@docs/images/kitten_small.jpg'"
POST_JSON = 'curl -H "Content-Type: application/json" --data @kubernetes/kserve/kf_request_json/v1/mnist.json '
LINES: dict[str, tuple[str, dict[str, Any]]] = {
    "description": ("curl -X OPTIONS http://localhost:8080", {"openapi": "3.1.0"}),
    "health": ("curl http://localhost:8080/ping", {"status": "Healthy"}),
    "upload": ("curl http://localhost:8080/predictions/resnet-18 -T kitten_small.jpg", {"version": "1.0"}),
    "form": ('curl http://localhost:8080/predictions/resnet-18 -F "data=@kitten_small.jpg"', {"version": "1.0"}),
    "inputs": (
        "curl http://localhost:8080/predictions/squeezenet1_1 " + TWO_FILES,
        {"model": "squeezenet1_1"},
    ),
    "version": ("curl http://localhost:8080/predictions/resnet-18/2.0 -T kitten_small.jpg", {"version": "2.0"}),
    "form to a version": (
        'curl http://localhost:8080/predictions/resnet-18/2.0 -F "data=@kitten_small.jpg"',
        {"version": "2.0"},
    ),
    "explanation": (
        "curl http://127.0.0.1:8080/explanations/mnist -T examples/image_classifier/mnist/test_data/0.png",
        {"model": "mnist"},
    ),
    "kserve": (
        POST_JSON + "http://127.0.0.1:8080/v1/models/mnist:predict",
        {},
    ),
    "kserve explanation": (
        POST_JSON + "http://127.0.0.1:8080/v1/models/mnist:explain",
        {},
    ),
}
ITEMS = {"kserve": "predictions", "kserve explanation": "explanations", "explanation": "explanations"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    engine = Engine(tmp_path_factory.mktemp("stock"))
    try:
        engine.start()
        for name, version in (("resnet-18", "1.0"), ("resnet-18", "2.0"), ("squeezenet1_1", "1.0"), ("mnist", "1.0")):
            engine.add(name, VISION, version=version)
        engine.add("parrot", ADOPTED)
        engine.add("idle", VISION, workers=0)
        with gateway_for(engine, "gateway.default_vision_model=mnist", "gateway.dialects.model=mnist") as url:
            yield url
    finally:
        engine.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the lines name, where they expect them."""
    made = tmp_path_factory.mktemp("files")
    pictures = ("kitten_small.jpg", "docs/images/dogs-before.jpg", "docs/images/kitten_small.jpg")
    for name in (*pictures, "examples/image_classifier/mnist/test_data/0.png"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(PICTURE)
    request = made / "kubernetes/kserve/kf_request_json/v1/mnist.json"
    request.parent.mkdir(parents=True)
    request.write_text(json.dumps(INSTANCES))
    return made


def typed(line: str, url: str, folder: Path) -> Any:
    """What a line prints that was typed in this folder."""
    address = url.removeprefix("http://")
    line = line.replace("localhost:8080", address).replace("127.0.0.1:8080", address)
    command = f"{line} -sS --fail-with-body"
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", LINES)
def test_documented_line_is_answered(gateway: str, folder: Path, name: str) -> None:
    line, expected = LINES[name]
    found = typed(line, gateway, folder)
    assert {key: found[key] for key in expected} == expected
    if "/predictions/" in line or name in ITEMS:
        assert len(found[ITEMS.get(name, "predictions")]) == (2 if name == "inputs" else 1)


def test_form_reaches_an_adopted_handler_with_every_field(gateway: str, folder: Path) -> None:
    form = f"-F 'data=@kitten_small.jpg' -F 'user=me' -F 'n=2;type=application/json' {gateway}"
    found = typed(f"curl {form}/predictions/parrot", gateway, folder)
    assert found == {"explains": False, "fields": {"data": PICTURE.decode("latin-1"), "user": "me", "n": "2"}}
    assert typed(f"curl {form}/explanations/parrot/1.0", gateway, folder) == found | {"explains": True}


def test_kserves_own_client_makes_its_calls(gateway: str) -> None:
    calls: list[dict[str, Any]] = [
        {"method": "is_model_ready", "model_name": "mnist"},
        {"method": "is_model_ready", "model_name": "idle"},
        {"method": "is_model_ready", "model_name": "nobody"},
        {"method": "infer", "model_name": "mnist", "data": {"instances": [{"b64": PICTURE_BASE64}] * 2}},
        {"method": "explain", "model_name": "mnist", "data": INSTANCES},
        {"method": "infer", "model_name": "mnist", "data": {"instances": [{"nothing": 1}]}},
        {"method": "infer", "model_name": "nobody", "data": INSTANCES},
    ]
    command: list[str | Path] = [client_python(HERE / "kserve" / "requirements.txt"), HERE / "kserve" / "runner.py"]
    content = {
        "addresses": {"http": gateway, "grpc": "127.0.0.1:1"},
        "calls": [{"protocol": "v1"} | each for each in calls],
    }
    done = subprocess.run(command, input=json.dumps(content), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    ready, idle, nobody, predicted, explained, unfit, unknown = json.loads(done.stdout.splitlines()[-1])
    assert (ready, idle) == (True, False)
    assert nobody.startswith("404: no model nobody is registered")
    assert (list(predicted), len(predicted["predictions"])) == (["predictions"], 2)
    assert list(explained) == ["explanations"]
    assert unfit.startswith("422: instances[0]: unknown field: nothing")
    assert unknown.startswith("404: no model nobody is registered")
