"""Loads a `tensors` model: a graph file as it is, or the user's module → LoadedModel.

    checkpoint ──▶ Network ──run: the framework itself, one instance at a time──▶ references
        └── declared inputs and outputs, or those of the ONNX file ──▶ signature, in the model card

The archive gets the checkpoint unchanged, so that the types and axes of the graph stay as its maker chose them.
"""

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import EncodeError
from numpy.typing import NDArray
from onnx.external_data_helper import _get_all_tensors, uses_external_data
from torch import nn

from errors import BuildError
from handlers import networks
from handlers.json_object import JsonObject
from handlers.outputs import NetworkOutput
from handlers.signature import Signature, read_signature
from handlers.tensor_records import Tensors
from serialize.checkpoints import ROOT
from serialize.graph_file import first_line, graph_kind, read_graph
from serialize.loaded_model import LoadedModel
from serialize.network_spec import module_spec, own_file
from serialize.state_dict import fill, load_state_dicts
from serialize.vision_loader import users_code
from settings.schema import InputSettings, OutputTensorSettings, TensorsModel

ONNX_DATATYPES: Mapping[str, str] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
"""ONNX Runtime's types of the protocol's datatypes; numpy, through which it takes arrays, has no bfloat16."""


@dataclass(frozen=True)
class Unchanged:
    """The format of a graph file that is packed as it is."""

    name: str
    file: str

    @property
    def runtime(self) -> str:
        """The runtime of the same name."""
        return self.name

    def export(self, loaded: LoadedModel, target: Path) -> dict[str, Any]:
        """Copy the graph file; write an ONNX graph whose weights lie in other files together with them."""
        [source] = loaded.files.values()
        if self.name != "onnx" or not _join_weights(source, target):
            shutil.copyfile(source, target)
        return {}


def _join_weights(source: Path, target: Path) -> bool:
    """Write an ONNX graph with the weights beside it into one file, and return False where there are none.

    Raises BuildError for a file that ONNX refuses, such as weights outside the graph's folder, or more than 2 GB.
    """
    model = onnx.load(source, load_external_data=False)
    if not any(map(uses_external_data, _get_all_tensors(model))):
        return False
    try:
        onnx.load_external_data_for_model(model, str(source.parent))
        if model.ByteSize() > onnx.checker.MAXIMUM_PROTOBUF:
            raise ValueError("it would have more than 2 GB")
        onnx.save(model, target)
    except (onnx.checker.ValidationError, EncodeError, OSError, ValueError) as error:
        raise BuildError(f"{source}: cannot be joined with its weights into one file: {first_line(error)}") from None
    return True


GRAPHS: Mapping[str, Unchanged] = {
    each.name: each
    for each in (
        Unchanged("onnx", "model.onnx"),
        Unchanged("torchscript", "model.pt"),
        Unchanged("pt2", "model.pt2"),
    )
}
"""The formats of graph files; the module of artifact `eager` has the format of that name."""


def read_tensors(model: TensorsModel, checkpoint: Path | None) -> LoadedModel:
    """Load the network and its signature. Raises BuildError where they do not fit each other."""
    assert checkpoint is not None  # the schema refuses random weights
    if model.artifact == "eager":
        return _read_module(model, checkpoint)
    kind = graph_kind(checkpoint)
    if kind != model.artifact:
        raise BuildError(
            f"{checkpoint}: served_model.artifact is {model.artifact}, and the file holds "
            f"{'no graph' if kind is None else kind}; set served_model.artifact={kind or 'eager'}"
        )
    graph = read_graph(checkpoint, kind)
    ports = _OnnxPorts.of(graph.held, checkpoint) if kind == "onnx" else None
    card = _card(model, checkpoint, ports)
    run = _run_onnx(graph.held) if kind == "onnx" else _run_torch(graph.held, _signature(card))
    framework = ("onnxruntime",) if kind == "onnx" else ("torch",)
    return _loaded(graph, {"type": "graph"}, card, run, framework, {checkpoint.name: checkpoint})


def _read_module(model: TensorsModel, checkpoint: Path) -> LoadedModel:
    assert model.network is not None  # the schema requires it
    file = own_file(model.network)
    spec = module_spec(model.network) | {"form": networks.TENSORS}
    spec |= {"args": model.network_args} if model.network_args else {}
    with users_code(model.network):
        network = networks.build_network(spec, file.parent if file else Path())
    key = None
    if checkpoint != file:
        found = load_state_dicts(checkpoint, checkpoint, model.checkpoint_key, convertible=True)
        key = fill(network, found, str(checkpoint)) or None
    elif network.state_dict():
        raise BuildError(f"{checkpoint}: the network has weights; set served_model.checkpoint to their file")
    card = _card(model, checkpoint, None)
    run = _run_torch(network, _signature(card))
    return _loaded(network, spec, card, run, ("torch",), {} if file is None else {f"network/{file.name}": file}, key)


def _loaded(
    network: nn.Module,
    spec: dict[str, Any],
    card: dict[str, Any],
    run: Any,
    framework: tuple[str, ...],
    files: Mapping[str, Path],
    key: str | None = None,
) -> LoadedModel:
    signature = _signature(card)
    return LoadedModel(
        network=network,
        spec=spec,
        card=card,
        example=torch.empty(0),
        input_name="",
        output_names=tuple(each.name for each in signature.outputs),
        checkpoint_key=key,
        files=files,
        signature=signature,
        run=run,
        framework=framework,
    )


def _signature(card: Mapping[str, Any]) -> Signature:
    return read_signature(JsonObject(card["signature"], "served_model"))


@dataclass(frozen=True)
class _OnnxPorts:
    """Inputs and outputs of an ONNX file by name: datatype, and sizes with -1 for any; None where it says no shape."""

    inputs: dict[str, tuple[str, list[int] | None]]
    outputs: dict[str, tuple[str, list[int] | None]]

    @classmethod
    def of(cls, session: Any, path: Path) -> "_OnnxPorts":
        # To ONNX Runtime a tensor without a shape and one of no axes are the same.
        graph = onnx.load(path, load_external_data=False).graph
        shaped = {each.name for each in (*graph.input, *graph.output) if each.type.tensor_type.HasField("shape")}
        return cls(_ports(session.get_inputs(), shaped), _ports(session.get_outputs(), shaped))


def _ports(nodes: Sequence[Any], shaped: Collection[str]) -> dict[str, tuple[str, list[int] | None]]:
    found = {}
    for node in nodes:
        if node.type not in ONNX_DATATYPES:
            raise BuildError(f"served_model: {node.name} is {node.type}; the datatypes are {', '.join(ONNX_DATATYPES)}")
        sizes = [each if isinstance(each, int) else -1 for each in node.shape]
        found[node.name] = (ONNX_DATATYPES[node.type], sizes if sizes or node.name in shaped else None)
    return found


def _card(model: TensorsModel, checkpoint: Path, ports: _OnnxPorts | None) -> dict[str, Any]:
    """Return the card's part: the declared signature, completed by what the ONNX file says."""
    inputs: Sequence[InputSettings | OutputTensorSettings] | None = model.inputs
    outputs: Sequence[InputSettings | OutputTensorSettings] | None = model.outputs
    if ports is not None:
        inputs = inputs or [InputSettings(name=name) for name in ports.inputs]
        outputs = outputs or [OutputTensorSettings(name=name) for name in ports.outputs]
        if missing := ports.inputs.keys() - {each.name for each in inputs}:
            raise BuildError(f"{checkpoint}: served_model.inputs lacks {', '.join(sorted(missing))}")
    signature = {
        "batched": model.batched,
        "inputs": [_tensor(each, model.batched, checkpoint, ports.inputs if ports else None) for each in inputs or ()],
        "outputs": [
            _tensor(each, model.batched, checkpoint, ports.outputs if ports else None) for each in outputs or ()
        ],
    }
    return {"signature": signature | _examples(model)}


def _tensor(
    declared: InputSettings | OutputTensorSettings,
    batched: bool,
    checkpoint: Path,
    ports: Mapping[str, tuple[str, list[int] | None]] | None,
) -> dict[str, Any]:
    stated = declared.model_dump(mode="json", exclude_none=True)
    if ports is None:
        return stated
    where = f"{checkpoint}: {declared.name}"
    if declared.name not in ports:
        raise BuildError(f"{where} is not in the file; it has {', '.join(ports)}")
    datatype, sizes = ports[declared.name]
    if declared.datatype not in (None, datatype):
        raise BuildError(f"{where} is {datatype} in the file, and {declared.datatype} in the settings")
    inner = _instance_shape(where, sizes, batched)
    shape = inner if declared.shape is None else declared.shape
    if shape is None:
        raise BuildError(f"{where}: the file says no shape; add it to the settings")
    if inner is not None and not NetworkOutput(declared.name, tuple(inner)).fits(tuple(shape)):
        raise BuildError(f"{where} has shape {inner} for one instance in the file, and {shape} in the settings")
    return stated | {"datatype": datatype, "shape": shape}


def _instance_shape(where: str, sizes: list[int] | None, batched: bool) -> list[int] | None:
    if sizes is None or not batched:
        return sizes
    if not sizes or sizes[0] != -1:
        raise BuildError(
            f"{where} has shape {sizes} in the file, whose first axis does not count instances; "
            "set served_model.batched=false, or export the graph with a dynamic first axis"
        )
    return sizes[1:]


def _examples(model: TensorsModel) -> dict[str, Any]:
    if model.samples is None:
        return {}
    path = ROOT / Path(model.samples).expanduser()
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise BuildError(f"served_model.samples: {path}: {error.strerror}") from None
    except ValueError:
        raise BuildError(f"served_model.samples: {path} is not JSON") from None
    if not isinstance(found, list) or not found or not all(isinstance(each, dict) for each in found):
        raise BuildError(f"served_model.samples: {path} must hold a list of instances, objects by name")
    return {"examples": found}


def _run_onnx(session: Any) -> Any:
    names = [each.name for each in session.get_outputs()]

    def run(inputs: Tensors) -> Tensors:
        feeds = {name: _texts(values) if values.dtype == object else values for name, values in inputs.items()}
        return dict(zip(names, session.run(names, feeds), strict=True))

    return run


def _texts(values: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.vectorize(bytes.decode, otypes=[object])(values))


def _run_torch(network: Any, signature: Signature) -> Any:
    def run(inputs: Tensors) -> Tensors:
        given = []
        for each in signature.inputs:
            values: Any = inputs[each.name]
            if not each.is_text:
                values = torch.tensor(values)
            given.append(values.bfloat16() if each.datatype == "BF16" else values)
        with torch.inference_mode():
            found = network(*given)
        if not isinstance(found, Mapping):
            found = found if isinstance(found, tuple | list) else (found,)
            if len(found) != len(signature.outputs):
                declared = len(signature.outputs)
                raise BuildError(f"the network returns {len(found)} outputs, served_model.outputs declares {declared}")
            found = {each.name: value for each, value in zip(signature.outputs, found, strict=True)}
        return {name: _numpy(value) for name, value in found.items()}

    return run


def _numpy(value: Any) -> NDArray[Any]:
    if not isinstance(value, torch.Tensor):
        return np.asarray(value, object)
    return np.asarray((value.float() if value.dtype == torch.bfloat16 else value).numpy())
