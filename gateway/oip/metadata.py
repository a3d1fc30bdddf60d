"""What server and models are, as the protocol words it; plain dicts that are JSON on REST and messages on gRPC."""

import json
from collections.abc import Mapping
from typing import Any

from gateway.catalog import ServedModel, ServedVersion
from gateway.model_card import ModelCard
from gateway.oip.inputs import input_of
from gateway.oip.tensors import TensorSpec
from handlers import outputs
from handlers.outputs import OutputTensor

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
)
# Names that clients of Triton know.
_PLATFORMS: Mapping[str, str] = {"onnx": "onnxruntime_onnx", "torchscript": "pytorch_libtorch", "eager": "pytorch"}
_CONFIG_TYPES: Mapping[str, str] = {"BYTES": "TYPE_STRING"}


def server(version: str) -> dict[str, Any]:
    """Name, version and extensions of this server."""
    return {"name": "marina", "version": version, "extensions": list(EXTENSIONS)}


def model(served: ServedModel, version: ServedVersion) -> dict[str, Any]:
    """A model's versions, and the tensors of one of them; no tensors while no worker has shown the model's card."""
    reads = input_of(version.card)
    return {
        "name": served.name,
        "versions": [each.version for each in served.versions],
        "platform": _platform(version.card),
        "inputs": [] if reads is None else [_tensor(spec) for spec in reads.specs],
        "outputs": [_tensor(output) for output in outputs.tensors(version.card)],
    }


def config(version: ServedVersion, backend: str) -> dict[str, Any]:
    """The model's configuration; `backend` is the engine's name.

    A request may hold any number of instances: `max_batch_size` is 0 and the dims keep their first dimension. What
    people need beside the tensors stands in the parameters: labels, fields, actions and batch settings.
    """
    reads = input_of(version.card)
    return {
        "name": version.model,
        "platform": _platform(version.card),
        "backend": backend,
        "max_batch_size": 0,
        "input": [] if reads is None else [_config_tensor(spec) for spec in reads.specs],
        "output": [_config_tensor(output) for output in outputs.tensors(version.card)],
        "instance_group": [{"name": version.model, "count": version.workers}],
        "parameters": {name: {"string_value": text} for name, text in _parameters(version).items()},
    }


def _platform(card: ModelCard) -> str:
    return _PLATFORMS.get(str((card.get("artifact") or {}).get("format")), "torchserve")


def _tensor(spec: TensorSpec | OutputTensor) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _config_tensor(spec: TensorSpec | OutputTensor) -> dict[str, Any]:
    data_type = _CONFIG_TYPES.get(spec.datatype, f"TYPE_{spec.datatype}")
    return {"name": spec.name, "data_type": data_type, "dims": list(spec.shape)}


def _parameters(version: ServedVersion) -> dict[str, str]:
    card = version.card
    found = {
        "version": version.version,
        "batch_size": version.batch_size,
        "max_batch_delay_ms": version.max_batch_delay,
        "kind": card.get("kind"),
        "description": card.get("description"),
        "weights": card.get("weights"),
        "labels": card.get("labels"),
        "fields": (card.get("observation") or {}).get("fields"),
        "actions": (card.get("action") or {}).get("names"),
    }
    told = {name: value for name, value in found.items() if value is not None}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in told.items()}
