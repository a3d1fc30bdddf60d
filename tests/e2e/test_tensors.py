"""Models of kind `tensors` from file to answer: a table, an LSTM with two inputs, and `simple` of Triton's clients."""

import concurrent.futures
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch

from settings import load
from tests.e2e.conftest import Stack
from tests.e2e.foreign_journey import foreign_stack
from tests.e2e.tensor_models import IRIS, LSTM_YAML, MLP_YAML, write_lstm, write_mlp
from tests.gateway.triton.client import KINDS, Client

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


class Served:
    """A stack that serves the three models, and the networks as their own libraries have them."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        models = Path(stack.env["MARINA_CONFIG"]) / "served_model"
        self.mlp, self.rows = write_mlp(folder / "iris.onnx")
        self.lstm = write_lstm(folder / "reader.pt")
        (models / "iris.yaml").write_text(MLP_YAML.format(checkpoint=folder / "iris.onnx"))
        (models / "reader.yaml").write_text(LSTM_YAML.format(checkpoint=folder / "reader.pt"))
        stack.run("-m", "demo", "triton", f"paths.weights={folder}")
        for name in ("iris", "reader"):
            stack.run("-m", "serialize", f"served_model={name}")
        for name in ("iris", "reader", "simple"):
            stack.run("upload_model.py", f"served_model={name}")

    def ask(self, model: str, content: Any) -> requests.Response:
        return requests.post(self.stack.predict_url(model), json=content, timeout=120)

    def outputs(self, model: str, content: Any) -> list[dict[str, Any]]:
        answer = self.ask(model, content)
        assert answer.status_code == 200, answer.text
        return [each["outputs"] for each in answer.json()["predictions"]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with foreign_stack(load().engine.name, tmp_path_factory.mktemp("tensors")) as stack:
        yield Served(stack, tmp_path_factory.mktemp("files"))


def test_rows_of_a_table_are_answered_as_scikit_learn_does(served: Served) -> None:
    chosen = served.rows[::10]
    rows = [dict(zip(IRIS, map(float, row), strict=True)) for row in chosen.tolist()]
    rows = [{name: round(value, 1) for name, value in row.items()} for row in rows]
    found = np.array([each["probabilities"] for each in served.outputs("iris", {"instances": rows})])
    assert np.allclose(found, served.mlp.predict_proba(chosen), atol=1e-4)
    columns = {name: [row[name] for row in rows] for name in IRIS}
    assert served.outputs("iris", {"inputs": columns}) == served.outputs("iris", {"instances": rows})


def test_a_bad_row_is_refused_between_the_answers_of_others(served: Served) -> None:
    good = served.rows[0].tolist()
    rows = [dict(zip(IRIS, values, strict=True)) for values in (good, [99, *good[1:]], good)]
    first, refused, last = served.ask("iris", {"instances": rows}).json()["predictions"]
    assert first == last
    assert refused == {"error": "invalid_fields", "detail": "sepal length is 99, outside of 0 to 10 cm"}
    answer = served.ask("iris", {"instances": rows[1:2]})
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_fields")


def test_a_table_describes_its_columns(served: Served) -> None:
    [version] = requests.get(f"{served.stack.gateway}/models/iris", timeout=30).json()["versions"]
    column = {"type": "number", "minimum": 0, "maximum": 10, "x-unit": "cm"}
    assert version["input"]["json_schema"]["properties"] == dict.fromkeys(IRIS, column)
    assert served.outputs("iris", version["input"]["example"])[0]["probabilities"]


def test_sequences_of_different_lengths_at_once_are_answered_as_torch_does(served: Served) -> None:
    texts = [[(3 * at + step) % 11 for step in range(at % 5 + 1)] for at in range(24)]
    instances = [{"words": words, "scale": at / 4} for at, words in enumerate(texts)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda each: served.outputs("reader", each)[0], instances))
    for sent, answered in zip(instances, found, strict=True):
        with torch.inference_mode():
            score, states = served.lstm(torch.tensor([sent["words"]]), torch.tensor([sent["scale"]]))
        assert np.allclose(answered["score"], score[0].numpy(), atol=1e-4)
        assert np.allclose(answered["states"], states[0].numpy(), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stock_client_finds_in_the_metadata_what_it_needs_to_ask(served: Served, kind: str) -> None:
    env = served.stack.env
    http, grpc = (f"127.0.0.1:{env[name]}" for name in ("MARINA_GATEWAY_PORT", "MARINA_GATEWAY_GRPC_PORT"))
    values = np.arange(32, dtype=np.int32).reshape(2, 16)
    with Client(kind, http, grpc) as client:
        described = client.describe("get_model_metadata", "simple")
        assert [(each["name"], each["datatype"]) for each in described["inputs"]] == [
            ("INPUT0", "INT32"),
            ("INPUT1", "INT32"),
        ]
        inputs = [client.tensor(each["name"], values, each["datatype"]) for each in described["inputs"]]
        answer = client.call("infer", "simple", inputs)
        assert answer.as_numpy("OUTPUT0").tolist() == (values + values).tolist()
        assert answer.as_numpy("OUTPUT1").tolist() == np.zeros_like(values).tolist()
        words = np.array([[1, 2, 3]], np.int64)
        pair = [client.tensor("words", words, "INT64"), client.tensor("scale", np.ones(1, np.float32), "FP32")]
        assert client.call("infer", "reader", pair).as_numpy("states").shape == (1, 3, 5)


def test_a_load_test_generates_instances(served: Served) -> None:
    load = ("stress.requests=40", "stress.rounds=1", "stress.clients=2", "stress.warmup=0")
    assert "instances" in served.stack.run("stress.py", "served_model=reader", *load)
