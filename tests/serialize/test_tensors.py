"""Models of kind `tensors`: each kind of file becomes an archive that answers as its own framework does."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from demo.triton_models import MODELS, write_model
from errors import BuildError, ConfigError, ParityError
from handlers import card
from serialize.build import BuildResult, build
from serialize.offline_handler import load_runtime
from tests.onnx_graphs import Port, axes, write_graph
from tests.serialize.conftest import Compose

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Gate(nn.Module):
    """Two inputs of different types, three outputs of different types and shapes."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.layer = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, on: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        scores = self.layer(x) * on.unsqueeze(1)
        return scores, scores.argmax(1), scores.sum(1) > 0


def declared(**changes: Any) -> dict[str, Any]:
    return {
        "batched": "true",
        "inputs": "[{name: x, datatype: FP32, shape: [4], low: -2, high: 2}, {name: on, datatype: BOOL, shape: []}]",
        "outputs": "[{name: scores, datatype: FP32, shape: [2]}, {name: best, datatype: INT64, shape: []}, "
        "{name: up, datatype: BOOL, shape: []}]",
    } | changes


def built(compose: Compose, checkpoint: Path | str, **changes: Any) -> BuildResult:
    changes = {key: value for key, value in changes.items() if value is not None}
    overrides = [f"served_model.{key}={value}" for key, value in changes.items()]
    return build(compose("simple", "served_model.model_name=mine", f"served_model.checkpoint={checkpoint}", *overrides))


def answer(result: BuildResult) -> Any:
    return json.loads(json.dumps(result.archive.golden))["samples"][0]["predictions"][0]["outputs"]


def script(folder: Path) -> Path:
    path = folder / "gate.pt"
    example = (torch.zeros(2, 4), torch.ones(2, dtype=torch.bool))
    torch.jit.trace(Gate().eval(), example).save(str(path))  # type: ignore[no-untyped-call]
    return path


def graph(folder: Path, nodes: list[Any], inputs: list[Port], outputs: list[Port]) -> Path:
    return write_graph(folder / "graph.onnx", nodes, inputs, outputs)


@pytest.mark.parametrize("name", MODELS)
def test_the_sample_models_of_tritons_clients_are_built(compose: Compose, tmp_path: Path, name: str) -> None:
    (tmp_path / "weights").mkdir()
    write_model(name, tmp_path / "weights" / f"{name}.onnx")
    result = build(compose(name))
    card = result.archive.card
    assert (card["kind"], card["artifact"]["format"]) == ("tensors", "onnx")
    assert card["signature"]["batched"] is (name != "densenet_onnx")
    assert card["parity"]["reference"].startswith("onnxruntime ")
    assert set(answer(result)) == {each["name"] for each in card["signature"]["outputs"]}


def test_a_script_answers_as_torch_does(compose: Compose, tmp_path: Path) -> None:
    result = built(compose, script(tmp_path), artifact="torchscript", **declared())
    assert result.archive.card["parity"]["reference"].startswith("torch ")
    assert result.parity.output < 1e-6
    assert isinstance(answer(result)["up"], bool)


def test_an_exported_program_answers_as_torch_does(compose: Compose, tmp_path: Path) -> None:
    path, batch = tmp_path / "gate.pt2", torch.export.Dim("batch", min=1, max=64)
    example = (torch.zeros(3, 4), torch.ones(3, dtype=torch.bool))
    torch.export.save(torch.export.export(Gate().eval(), example, dynamic_shapes=({0: batch}, {0: batch})), path)
    result = built(compose, path, artifact="pt2", **declared())
    assert [file.name for file in result.archive.files if file.name.startswith("model.pt")] == ["model.pt2"]


def test_the_users_module_gets_its_weights(compose: Compose, tmp_path: Path) -> None:
    weights = tmp_path / "gate.pth"
    torch.save(Gate().state_dict(), weights)
    result = built(compose, weights, artifact="eager", network="tests.serialize.test_tensors:Gate", **declared())
    assert result.archive.card["artifact"]["network"]["form"] == "tensors"
    assert answer(result) == answer(built(compose, script(tmp_path), artifact="torchscript", **declared()))


def test_the_users_module_without_weights_may_answer_text(compose: Compose) -> None:
    file = "tests/serialize/text_network.py"
    inputs = "[{name: text, datatype: BYTES, shape: []}, {name: times, datatype: INT64, shape: [], low: 1, high: 3}]"
    outputs = "[{name: loud, datatype: BYTES, shape: []}, {name: length, datatype: INT64, shape: []}]"
    network = {"network": f"'{file}:Shout'", "network_args": "{mark: '?'}"}
    result = built(compose, file, artifact="eager", inputs=inputs, outputs=outputs, **network)
    found = answer(result)
    assert found["loud"].endswith("?")
    assert found["length"] == len(found["loud"])
    assert "network/text_network.py" in {file.name for file in result.archive.files}


def test_columns_need_no_datatype_where_the_graph_has_one(compose: Compose, tmp_path: Path) -> None:
    node = helper.make_node("ReduceSum", ["row", "axes"], ["sum"], keepdims=0)
    path = graph(tmp_path, [axes(1), node], [("row", TensorProto.FLOAT, ["N", 2])], [("sum", TensorProto.FLOAT, ["N"])])
    columns = "[{name: age, unit: years, low: 0, high: 120}, {name: job, categories: [nurse, pilot]}]"
    result = built(compose, path, inputs=f"[{{name: row, columns: {columns}}}]")
    sample = json.loads(base64.b64decode(result.archive.golden["samples"][0]["body"]))
    assert answer(result)["sum"] == pytest.approx(sample["age"] + ["nurse", "pilot"].index(sample["job"]), rel=1e-6)


def test_samples_of_the_user_become_golden_requests(compose: Compose, tmp_path: Path) -> None:
    samples, path = tmp_path / "samples.json", tmp_path / "simple.onnx"
    write_model("simple", path)
    samples.write_text(json.dumps([{"INPUT0": [7] * 16, "INPUT1": [3] * 16}]))
    assert answer(built(compose, path, samples=samples)) == {"OUTPUT0": [10] * 16, "OUTPUT1": [4] * 16}


def test_a_graph_in_which_instances_change_each_other_is_no_batched_one(compose: Compose, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0]),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    port = TensorProto.FLOAT, ["N", 3]
    path = graph(tmp_path, nodes, [("x", *port)], [("y", *port)])
    with pytest.raises(ParityError, match="does not answer as the framework does"):
        built(compose, path)
    assert built(compose, path, batched="false").archive.card["signature"]["inputs"][0]["shape"] == [-1, 3]


def test_logits_that_differ_in_length_are_built(compose: Compose, tmp_path: Path) -> None:
    port = TensorProto.FLOAT, ["N", "M"]
    nodes = [helper.make_node("Add", ["x", "x"], ["logits"])]
    result = built(compose, graph(tmp_path, nodes, [("x", *port)], [("logits", *port)]))
    assert result.archive.card["signature"]["outputs"][0]["shape"] == [-1]


def weights_beside(folder: Path) -> Path:
    """Write a graph whose weights lie in a file beside it, as torch.onnx.export does."""
    port, weight = (TensorProto.FLOAT, ["N", 3]), numpy_helper.from_array(np.eye(3, dtype=np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = write_graph(folder / "graph.onnx", nodes, [("x", *port)], [("y", *port)], [weight])
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="graph.onnx.data", size_threshold=0)
    return path


def test_an_onnx_file_gets_the_weights_beside_it(compose: Compose, tmp_path: Path) -> None:
    result = built(compose, weights_beside(tmp_path))
    sample = json.loads(base64.b64decode(result.archive.golden["samples"][0]["body"]))
    assert answer(result)["y"] == pytest.approx(sample["x"], rel=1e-6)


def test_an_onnx_file_of_more_than_two_gigabytes_is_refused(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = weights_beside(tmp_path)
    monkeypatch.setattr("onnx.checker.MAXIMUM_PROTOBUF", 8)
    with pytest.raises(BuildError, match=r"cannot be joined with its weights into one file: .*2 GB"):
        built(compose, path)


def test_an_onnx_file_with_weights_outside_its_folder_is_refused(compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "graph").mkdir()
    path = weights_beside(tmp_path / "graph")
    (tmp_path / "graph" / "graph.onnx.data").rename(tmp_path / "graph.onnx.data")
    model = onnx.load(path, load_external_data=False)
    [location] = [each for each in model.graph.initializer[0].external_data if each.key == "location"]
    location.value = "../graph.onnx.data"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BuildError, match="not a readable onnx file"):
        built(compose, path)


def test_an_artifact_that_onnx_runtime_refuses_is_no_traceback(compose: Compose, tmp_path: Path) -> None:
    write_model("simple", tmp_path / "simple.onnx")
    archive = built(compose, tmp_path / "simple.onnx").archive
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    (tmp_path / "model.json").write_bytes(archive.read("model.json"))
    with pytest.raises(BuildError, match="cannot be compared here"):
        load_runtime(tmp_path, card.load(tmp_path / "model.json"))


def test_a_graph_without_shapes_needs_those_of_the_settings(compose: Compose, tmp_path: Path) -> None:
    path = graph(
        tmp_path,
        [helper.make_node("Neg", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, None)],
        [("y", TensorProto.FLOAT, None)],
    )
    with pytest.raises(BuildError, match="x: the file says no shape; add it to the settings"):
        built(compose, path)
    result = built(compose, path, inputs="[{name: x, shape: [3]}]", outputs="[{name: y, shape: [3]}]")
    assert result.archive.card["signature"]["inputs"][0]["shape"] == [3]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"artifact": "torchscript", **declared()}, "the file holds onnx; set served_model.artifact=onnx"),
        ({"inputs": "[{name: x}]"}, "served_model.inputs lacks INPUT0, INPUT1"),
        ({"inputs": "[{name: INPUT0, datatype: FP32}, {name: INPUT1}]"}, "INPUT0 is INT32 in the file, and FP32"),
        ({"inputs": "[{name: INPUT0, shape: [8]}, {name: INPUT1}]"}, r"INPUT0 has shape \[16\] for one instance"),
        ({"outputs": "[{name: OUTPUT7}]"}, "OUTPUT7 is not in the file; it has OUTPUT0, OUTPUT1"),
        ({"samples": "nowhere.json"}, "served_model.samples: .*nowhere.json: No such file"),
    ],
)
def test_settings_that_the_file_contradicts_are_refused(
    compose: Compose, tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    path = tmp_path / "simple.onnx"
    write_model("simple", path)
    with pytest.raises(BuildError, match=text):
        built(compose, path, **changes)


def test_a_graph_of_a_fixed_batch_is_not_batched(compose: Compose, tmp_path: Path) -> None:
    port = TensorProto.FLOAT, [1, 3]
    path = graph(tmp_path, [helper.make_node("Neg", ["x"], ["y"])], [("x", *port)], [("y", *port)])
    with pytest.raises(BuildError, match="whose first axis does not count instances"):
        built(compose, path)
    assert answer(built(compose, path, batched="false"))["y"][0][0] != 0


def test_a_script_of_a_fixed_batch_is_not_batched(compose: Compose, tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(1, 3)

    path = tmp_path / "fixed.pt"
    torch.jit.trace(Fixed(), torch.zeros(1, 3)).save(str(path))  # type: ignore[no-untyped-call]
    port = {"inputs": "[{name: x, datatype: FP32, shape: [3]}]", "outputs": "[{name: y, datatype: FP32, shape: [3]}]"}
    with pytest.raises(ParityError, match="the torchscript artifact fails on the golden requests"):
        built(compose, path, artifact="torchscript", **port)


def test_outputs_of_another_type_than_declared_are_refused(compose: Compose, tmp_path: Path) -> None:
    wrong = declared()
    wrong["outputs"] = wrong["outputs"].replace("INT64", "INT32")
    with pytest.raises(BuildError, match=r"returns int64 \[1\] for output best, which .* declares as INT32 \[1\]"):
        built(compose, script(tmp_path), artifact="torchscript", **wrong)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"artifact": "torchscript"}, "inputs are missing: artifact torchscript does not say them"),
        ({"artifact": "pt2", **declared(inputs="[{name: x}]")}, "inputs need datatype and shape"),
        ({"artifact": "eager"}, "artifact eager needs network"),
        ({"weights": "random"}, "weights random are those of a network of Marina's"),
        ({"inputs": "[{name: instances}]"}, "no input or column may have the name 'instances'"),
        ({"inputs": "[{name: a, low: 2, high: 1}]"}, "a: low 2 is above high 1"),
        ({"inputs": "[{name: a, shape: [3], columns: [{name: b}]}]"}, "a: 1 columns for shape"),
        ({"inputs": "[{name: a}, {name: a}]"}, "inputs must differ"),
    ],
)
def test_settings_that_say_too_little_are_refused(compose: Compose, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        built(compose, "nowhere", **changes)


def test_any_type_goes_through_an_archive(compose: Compose, tmp_path: Path) -> None:
    types = {"UINT8": TensorProto.UINT8, "INT64": TensorProto.INT64, "FP16": TensorProto.FLOAT16}
    types |= {"FP64": TensorProto.DOUBLE, "BOOL": TensorProto.BOOL, "BYTES": TensorProto.STRING}
    ports: list[Port] = [(name, code, ["N", 2]) for name, code in types.items()]
    nodes = [helper.make_node("Identity", [name], [f"same_{name}"]) for name in types]
    path = graph(tmp_path, nodes, ports, [(f"same_{name}", code, sizes) for name, code, sizes in ports])
    [sample, *_] = built(compose, path).archive.golden["samples"]
    sent = json.loads(base64.b64decode(sample["body"]))
    found = sample["predictions"][0]["outputs"]
    for name in types:
        expected = np.array(sent[name], np.float16).astype(float).tolist() if name == "FP16" else sent[name]
        assert found[f"same_{name}"] == (pytest.approx(expected, rel=1e-3) if name == "FP16" else expected)
