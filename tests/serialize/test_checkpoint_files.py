"""Checkpoints as people save them: each is served as the framework answers, or refused with the command that helps."""

import argparse
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file
from torch import nn

from archive import open_archive
from errors import BuildError
from handlers import card, runtimes
from serialize.build import build, load_model
from serialize.convert import convert
from serialize.formats import FORMATS
from serialize.loaded_model import LoadedModel
from serialize.model_json import model_card
from serialize.onnx_session import session
from settings import Settings
from tests.onnx_graphs import write_graph
from tests.serialize.conftest import Compose

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

NETWORK = """
from torch import nn


class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, classes)

    def forward(self, images):
        return self.head(self.conv(images).relu().mean((2, 3)))
"""
States = dict[str, Any]


@pytest.fixture
def network(tmp_path: Path) -> nn.Module:
    """A small network with weights, whose class stands in the user's file net.py."""
    file = tmp_path / "net.py"
    file.write_text(NETWORK)
    space: dict[str, Any] = {"__name__": "net"}
    exec(compile(NETWORK, file, "exec"), space)
    torch.manual_seed(0)
    made: nn.Module = space["Net"]().eval()
    return made


@pytest.fixture
def configured(compose: Compose, tmp_path: Path) -> Callable[..., Settings]:
    def settings(checkpoint: Path, *overrides: str, own: bool = True) -> Settings:
        size = ["served_model.preprocessing.resize=[16,16]", "served_model.labels=[a,b,c]"]
        name = f"served_model.network={tmp_path / 'net.py'}:Net" if own else "served_model.network=null"
        return compose("digits", f"served_model.checkpoint={checkpoint}", name, *size, *overrides)

    return settings


def load(settings: Settings, checkpoint: Path) -> LoadedModel:
    return load_model(settings.built_model, checkpoint)


WRAPPINGS: dict[str, Callable[[States], Any]] = {
    "plain": lambda state: state,
    "data parallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "compiled in parallel": lambda state: {f"_orig_mod.module.{name}": value for name, value in state.items()},
    "lightning": lambda state: {"state_dict": {f"model.{name}": value for name, value in state.items()}, "epoch": 3},
    "a prefix of one's own": lambda state: {"state_dict": {f"classifier.{name}": each for name, each in state.items()}},
    "a loss beside it": lambda state: {
        **{f"net.{name}": each for name, each in state.items()},
        "loss.w": torch.ones(3),
    },
    "half precision": lambda state: {name: value.half() for name, value in state.items()},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrapped_state_dict_is_found(
    network: nn.Module, configured: Callable[..., Settings], tmp_path: Path, wrapping: str
) -> None:
    path = tmp_path / "weights.pt"
    torch.save(WRAPPINGS[wrapping](dict(network.state_dict())), path)
    loaded = load(configured(path), path)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(loaded.network.state_dict()[f"network.{name}"], value, atol=1e-3, rtol=0)


def test_safetensors_are_served(network: nn.Module, configured: Callable[..., Settings], tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), path)
    served = load(configured(path), path).network.state_dict()
    assert torch.equal(served["network.head.bias"], network.state_dict()["head.bias"])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(BuildError, match="not a readable file of safetensors"):
        load(configured(path), path)


def test_two_networks_in_one_state_dict_need_a_prefix(
    network: nn.Module, configured: Callable[..., Settings], tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    state = network.state_dict()
    pair = {
        f"{who}.{name}": value + shift
        for who, shift in (("student", 0), ("teacher", 1))
        for name, value in state.items()
    }
    torch.save({**pair, "step": torch.tensor(1)}, path)
    match = r"student\., teacher\. all fit; say which: served_model\.checkpoint_prefix=student\."
    with pytest.raises(BuildError, match=match):
        load(configured(path), path)
    loaded = load(configured(path, "served_model.checkpoint_prefix=teacher."), path)
    assert torch.equal(loaded.network.state_dict()["network.head.bias"], state["head.bias"] + 1)
    with pytest.raises(BuildError, match=r"no tensors under .*=ema\.; its names begin with .*student"):
        load(configured(path, "served_model.checkpoint_prefix=ema."), path)


@pytest.mark.parametrize("what", ["namespace", "path", "number", "module"])
def test_foreign_objects_are_refused_until_they_are_converted(
    network: nn.Module, configured: Callable[..., Settings], tmp_path: Path, what: str
) -> None:
    path = tmp_path / "weights.ckpt"
    state = network.state_dict()
    beside = {"namespace": argparse.Namespace(lr=0.1), "path": tmp_path, "number": np.float64(0.9)}
    # A pickled module needs its class; torch's own is importable everywhere.
    torch.save(
        nn.Sequential(nn.Linear(2, 2)) if what == "module" else {"state_dict": state, "args": beside[what]}, path
    )
    with pytest.raises(BuildError, match=r"python -m serialize convert .*weights\.ckpt trust=yes") as refused:
        load(configured(path), path)
    assert "weights_only" not in str(refused.value)
    with pytest.raises(BuildError, match="runs code from it"):
        convert([str(path)])
    assert "tensors" in convert([str(path), "trust=yes"])
    target = tmp_path / "weights.safetensors"
    if what != "module":
        assert torch.equal(
            load(configured(target), target).network.state_dict()["network.head.bias"], state["head.bias"]
        )
    with pytest.raises(BuildError, match="exists; remove or rename it"):
        convert([str(path), "trust=yes"])


def test_conversion_runs_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Malicious:
        def __reduce__(self) -> Any:
            code = f"import os, json; open({str(tmp_path / 'seen')!r}, 'w').write(json.dumps(dict(os.environ)))"
            return exec, (code,)

    path = tmp_path / "weights.pt"
    torch.save({"state_dict": {"a": torch.ones(1)}, "x": Malicious()}, path)
    monkeypatch.setenv("MARINA_SECRET", "secret")
    convert([str(path), "trust=yes"])
    assert "MARINA_SECRET" not in json.loads((tmp_path / "seen").read_text())


def test_convert_command_refuses_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serialize", "convert", str(tmp_path / "none.pt"), "trust=yes"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1
    assert "no such file; usage: python -m serialize convert FILE trust=yes" in done.stderr


def written(network: nn.Module, path: Path) -> None:
    """Write the network as the file's name says, for any number of pictures, or for one in fixed.onnx."""
    example = torch.zeros(1 if path.stem == "fixed" else 2, 3, 16, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        match path.suffix:
            case ".pt":
                torch.jit.script(network).save(str(path))  # type: ignore[no-untyped-call]  # torch's
            case ".pt2":
                shapes = ({0: torch.export.Dim("batch")},)
                torch.export.save(torch.export.export(network, (example,), dynamic_shapes=shapes), path)
            case _:
                axes = {} if path.stem == "fixed" else {"x": {0: "n"}, "y": {0: "n"}}
                torch.onnx.export(
                    network, (example,), path, dynamo=False, input_names=["x"], output_names=["y"], dynamic_axes=axes
                )


@pytest.mark.parametrize("name", ["script.pt", "exported.pt2", "graph.onnx", "fixed.onnx"])
def test_graph_is_served_as_it_comes(
    network: nn.Module, configured: Callable[..., Settings], tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    written(network, path)
    model = configured(path, own=False).built_model
    loaded = load_model(model, path)
    details = FORMATS["onnx"].export(loaded, tmp_path / "model.onnx")
    document = model_card(model, loaded, FORMATS["onnx"], details, path)
    (tmp_path / "model.json").write_text(json.dumps(document))
    assert document["artifact"].get("single", False) == (name == "fixed.onnx")
    runtime = runtimes.load(tmp_path, card.load(tmp_path / "model.json"))
    pixels = torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8)
    expected = network((pixels.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5).detach().numpy()
    np.testing.assert_allclose(runtime(pixels.numpy())["logits"], expected, atol=1e-5)


def test_graph_refuses_a_network_and_eager(
    network: nn.Module, configured: Callable[..., Settings], tmp_path: Path
) -> None:
    path = tmp_path / "script.pt"
    written(network, path)
    with pytest.raises(BuildError, match=r"served_model\.network=null"):
        load(configured(path), path)
    with pytest.raises(BuildError, match=r"served_model\.artifact=onnx or torchscript"):
        load(configured(path, "served_model.artifact=eager", own=False), path)


def test_onnx_graph_whose_branches_read_the_pictures_is_served(
    configured: Callable[..., Settings], tmp_path: Path
) -> None:
    branches: dict[str, Any] = {
        name: helper.make_graph(
            [helper.make_node(operator, ["x"], [name], axes=[2, 3], keepdims=0)],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3])],
        )
        for name, operator in (("then_branch", "ReduceMean"), ("else_branch", "ReduceMax"))
    }
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "limit"], ["bright"]),
        helper.make_node("If", ["bright"], ["y"], **branches),
    ]
    limit = helper.make_tensor("limit", TensorProto.FLOAT, [], [1.0])
    pictures, numbers = ("x", TensorProto.FLOAT, ["n", 3, 16, 16]), ("y", TensorProto.FLOAT, ["n", 3])
    path = write_graph(tmp_path / "graph.onnx", nodes, [pictures], [numbers], [limit])
    loaded = load(configured(path, own=False), path)
    FORMATS["onnx"].export(loaded, tmp_path / "model.onnx")
    pixels = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    [found] = session(tmp_path / "model.onnx").run(None, {loaded.input_name: pixels.numpy()})
    np.testing.assert_allclose(found, loaded.network(pixels).numpy(), rtol=1e-5)


def test_users_file_may_define_dataclasses_with_postponed_annotations(
    network: nn.Module, configured: Callable[..., Settings], tmp_path: Path
) -> None:
    path, sizes = tmp_path / "weights.pt", "\n\n@dataclass\nclass Sizes:\n    classes: int = 3\n"
    torch.save(network.state_dict(), path)
    head = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    (tmp_path / "net.py").write_text(head + NETWORK + sizes)
    assert load(configured(path), path).network.state_dict()["network.head.bias"].shape == (3,)
    (tmp_path / "net.py").write_text("raise ValueError")
    with pytest.raises(BuildError, match="ValueError"):
        load(configured(path), path)
    assert "marina_network_net" not in sys.modules


def test_eager_archive_carries_the_users_file(
    network: nn.Module, configured: Callable[..., Settings], tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    torch.save(network.state_dict(), path)
    archive = build(configured(path, "served_model.artifact=eager", "served_model.network_args={classes: 3}")).archive
    assert open_archive(archive.path).read("network/net.py").decode() == NETWORK
    assert archive.card["artifact"]["network"]["args"] == {"classes": 3}


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("net.py:Other", "AttributeError.*Other.*name it as"),
        ("none.py:Net", "FileNotFoundError.*name it as"),
        ("no.such.package:net", "ModuleNotFoundError.*install it"),
        ("net.py:nn", "TypeError"),
    ],
)
def test_network_that_cannot_be_built_is_refused(
    network: nn.Module, configured: Callable[..., Settings], tmp_path: Path, name: str, match: str
) -> None:
    path = tmp_path / "weights.pt"
    torch.save(network.state_dict(), path)
    source = tmp_path / name if ".py" in name else name
    with pytest.raises(BuildError, match=match):
        load(configured(path, f"served_model.network={source}"), path)
