"""Each format answers as the network it was made of, at every batch size, and has the same bytes each time."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from handlers import card, runtimes
from serialize.build import load_model
from serialize.formats import FORMATS
from serialize.loaded_model import LoadedModel
from serialize.model_json import model_card
from tests.serialize.conftest import Compose

# The worker loads TorchScript with torch.jit.load, which torch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:DeprecationWarning")

SMALL = ("served_model.preprocessing.resize=[64,64]", "served_model.preprocessing.crop=null")
# Equal to the framework and the same on every machine; the others have tests of their own.
EXACT = [name for name in FORMATS if name not in ("aoti", "onnx-int8")]
MODELS = {
    "cartpole": (),
    "digits": (),
    "genre_classifier": SMALL,
}


def exported(compose: Compose, folder: Path, name: str, form: str) -> tuple[LoadedModel, runtimes.Runtime]:
    model = compose(name, "served_model.weights=random", *MODELS[name]).built_model
    source = load_model(model, None)
    details = FORMATS[form].export(source, folder / FORMATS[form].file)
    document = model_card(model, source, FORMATS[form], details, None)
    (folder / "model.json").write_text(json.dumps(document))
    return source, runtimes.load(folder, card.load(folder / "model.json"))


def inputs(source: LoadedModel, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    shape = (count, *source.example.shape[1:])
    if source.example.dtype == torch.uint8:
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return torch.randn(shape, generator=generator)


@pytest.mark.parametrize("form", EXACT)
@pytest.mark.parametrize("name", MODELS)
def test_format_export_answers_as_network_without_local_paths(
    compose: Compose, tmp_path: Path, name: str, form: str
) -> None:
    source, runtime = exported(compose, tmp_path, name, form)
    for count in (1, 2, 5):
        batch = inputs(source, count)
        with torch.inference_mode():
            expected = source.network(batch).numpy()
        outputs: Any = runtime(batch.numpy())
        assert list(outputs) == list(source.output_names)
        [found] = outputs.values()
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    data = (tmp_path / FORMATS[form].file).read_bytes()
    for folder in (str(tmp_path), sys.prefix, str(Path(torch.__file__).parent), str(Path.cwd())):
        assert folder.encode() not in data


@pytest.mark.parametrize("form", EXACT)
def test_format_export_writes_the_same_bytes_in_another_process(compose: Compose, tmp_path: Path, form: str) -> None:
    # The large network for the format that rewrites it; what the others number or order does not depend on size.
    name = "digits" if form == "onnx" else "cartpole"
    # Loading a runtime sets the threads, so a test before this one may have: here one, over there two.
    torch.set_num_threads(1)
    source = load_model(compose(name, "served_model.weights=random").built_model, None)
    here = tmp_path / "here.bin"
    FORMATS[form].export(source, here)
    code = """
import pathlib, sys, torch, settings
from serialize.build import load_model
from serialize.formats import FORMATS
torch.jit.script(torch.nn.Tanh())  # takes a number of TorchScript's
source = load_model(settings.load(sys.argv[3:]).built_model, None)
FORMATS[sys.argv[2]].export(source, pathlib.Path(sys.argv[1]))
"""
    (tmp_path / "elsewhere").mkdir()
    there = tmp_path / "elsewhere" / "there.bin"
    environment = os.environ | {"TMPDIR": str(tmp_path / "elsewhere"), "PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-W", "ignore", "-c", code, str(there), form]
    overrides = [f"served_model={name}", "served_model.weights=random"]
    subprocess.run([*command, *overrides], env=environment, check=True)

    assert hashlib.sha256(here.read_bytes()).hexdigest() == hashlib.sha256(there.read_bytes()).hexdigest()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "here.bin"]


def test_the_onnx_graph_is_standard_and_optimised(compose: Compose, tmp_path: Path) -> None:
    exported(compose, tmp_path, "digits", "onnx")
    graph = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(graph)
    operators = {node.op_type for node in graph.graph.node}
    assert {node.domain for node in graph.graph.node} == {""}
    assert "BatchNormalization" not in operators
    assert "GlobalAveragePool" in operators
    assert graph.graph.input[0].name == "pixels"
    assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert next(each.version for each in graph.opset_import if each.domain == "") == 17


def test_eager_weights_load_without_unpickling_anything(compose: Compose, tmp_path: Path) -> None:
    source, _ = exported(compose, tmp_path, "cartpole", "eager")
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    assert set(state) == set(source.network.state_dict())
    assert json.loads((tmp_path / "model.json").read_text())["artifact"]["network"] == source.spec
