"""gRPC: the protocol's messages ↔ requests and responses."""

from collections.abc import Mapping
from typing import Any

from errors import UnreadableInput
from gateway.oip import open_inference_pb2 as pb
from gateway.oip.exchanged import InferRequest, InferResponse, RequestedOutput
from gateway.oip.tensors import Tensor, from_raw, known, to_raw

# Which field of InferTensorContents holds the elements of a datatype; FP16 can only come raw.
_FIELDS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def read(message: Any) -> InferRequest:
    """The request in a ModelInferRequest. Raises UnreadableInput when it is not as the protocol says."""
    raw = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        raise UnreadableInput(f"{len(message.inputs)} inputs came with {len(raw)} raw contents")
    inputs = tuple(_input(each, raw[at] if raw else None) for at, each in enumerate(message.inputs))
    outputs = tuple(_output(each) for each in message.outputs)
    return InferRequest(
        message.model_name,
        message.model_version or None,
        message.id,
        inputs,
        outputs or None,
        parameters(message.parameters),
    )


def write(response: InferResponse) -> Any:
    """The ModelInferResponse, its tensors raw."""
    outputs = [
        pb.ModelInferResponse.InferOutputTensor(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        for tensor in response.outputs
    ]
    return pb.ModelInferResponse(
        model_name=response.model,
        model_version=response.version,
        id=response.id,
        parameters={name: pb.InferParameter(string_param=str(value)) for name, value in response.parameters.items()},
        outputs=outputs,
        raw_output_contents=[to_raw(tensor) for tensor in response.outputs],
    )


def parameters(found: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a map of parameters, whichever type each one has."""
    chosen = {name: value.WhichOneof("parameter_choice") for name, value in found.items()}
    return {name: getattr(found[name], choice) for name, choice in chosen.items() if choice}


def _input(entry: Any, raw: bytes | None) -> Tensor:
    name, datatype, shape = entry.name, entry.datatype, tuple(entry.shape)
    if not known(datatype):
        raise UnreadableInput(f"input '{name[:80]}': datatype {datatype[:20]} is not read here")
    if "shared_memory_region" in entry.parameters:
        raise UnreadableInput("tensors in shared memory are not read here")
    if any(not 0 <= size < 2**31 for size in shape) or len(shape) > 16:
        raise UnreadableInput(f"input '{name[:80]}': shape must be a list of sizes")
    if raw is not None:
        return from_raw(name, datatype, shape, raw)
    field = _FIELDS.get(datatype)
    return Tensor(name, datatype, shape, list(getattr(entry.contents, field)) if field else [])


def _output(entry: Any) -> RequestedOutput:
    found = parameters(entry.parameters)
    if "shared_memory_region" in found:
        raise UnreadableInput("tensors in shared memory are not written here")
    classes = found.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise UnreadableInput("classification must be a number of classes")
    return RequestedOutput(entry.name, classes)
