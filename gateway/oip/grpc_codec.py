"""The protocol's messages over gRPC: inference requests and responses."""

from collections.abc import Iterator, Mapping
from typing import Any

from errors import UnreadableInput
from gateway.oip import open_inference_pb2 as pb
from gateway.oip.datatypes import datatype_of
from gateway.oip.infer_messages import InferRequest, InferResponse, RequestedOutput, Tensor, from_raw, to_raw
from gateway.oip.shared_memory import REGION, RegionSlice, RequestMemory


def read_request(message: pb.ModelInferRequest, memory: RequestMemory) -> InferRequest:
    """Read the request in a message, and its tensors in shared memory.

    Raises UnreadableInput when it does not follow the protocol.
    """
    raw = list(message.raw_input_contents)
    sent = [each for each in message.inputs if REGION not in each.parameters]
    if raw and len(raw) != len(sent):
        raise UnreadableInput(f"{len(sent)} inputs came with {len(raw)} raw contents")
    contents = iter(raw)
    inputs = tuple(_input(each, contents, memory) for each in message.inputs)
    outputs = tuple(_output(each, memory) for each in message.outputs)
    return InferRequest(
        message.model_name,
        message.model_version or None,
        message.id,
        inputs,
        outputs or None,
        parameters_of(message.parameters),
    )


def write_response(response: InferResponse) -> pb.ModelInferResponse:
    """Return the message of a response, its tensors raw."""
    outputs = [
        pb.ModelInferResponse.InferOutputTensor(
            name=tensor.name,
            datatype=tensor.datatype,
            shape=tensor.shape,
            parameters=_placed(response.places[tensor.name]) if tensor.name in response.places else None,
        )
        for tensor in response.outputs
    ]
    return pb.ModelInferResponse(
        model_name=response.model,
        model_version=response.version,
        id=response.id,
        parameters={name: pb.InferParameter(string_param=str(value)) for name, value in response.parameters.items()},
        outputs=outputs,
        # One for each output, because clients find theirs by its position.
        raw_output_contents=[b"" if tensor.name in response.places else to_raw(tensor) for tensor in response.outputs],
    )


def _placed(place: RegionSlice) -> dict[str, pb.InferParameter]:
    return {
        name: pb.InferParameter(string_param=value) if isinstance(value, str) else pb.InferParameter(int64_param=value)
        for name, value in place.parameters.items()
    }


def _input(tensor: pb.ModelInferRequest.InferInputTensor, contents: Iterator[bytes], memory: RequestMemory) -> Tensor:
    name, datatype, shape = tensor.name, tensor.datatype, tuple(tensor.shape)
    if any(not 0 <= size < 2**31 for size in shape) or len(shape) > 16:
        raise UnreadableInput(f"input '{name[:80]}': shape must be a list of sizes")
    place = memory.slice_of(parameters_of(tensor.parameters), name)
    raw = next(contents, None) if place is None else memory.read(place)
    if raw is not None:
        if tensor.contents.ListFields():  # an empty message stands in requests of MLServer
            raise UnreadableInput(f"input '{name[:80]}' has contents beside its raw form; send one of the two")
        return from_raw(name, datatype, shape, raw)
    return Tensor(name, datatype, shape, _contents(tensor))


def _contents(tensor: pb.ModelInferRequest.InferInputTensor) -> list[Any]:
    """Return the elements in the field of their datatype; no other field may have any."""
    datatype, name = datatype_of(tensor.datatype, tensor.name), tensor.name[:80]
    if datatype.field is None:
        raise UnreadableInput(f"input '{name}': gRPC has {datatype.name} in raw_input_contents only")
    filled = [field.name for field, _ in tensor.contents.ListFields()]
    if filled not in ([], [datatype.field]):
        raise UnreadableInput(f"input '{name}': elements of {datatype.name} belong into contents.{datatype.field}")
    values = list(getattr(tensor.contents, datatype.field))
    # The messages have no narrower integers.
    if datatype.kind is int and not all(map(datatype.holds, values)):
        raise UnreadableInput(f"input '{name}': contents hold something that is not {datatype.name}")
    return values


def _output(tensor: pb.ModelInferRequest.InferRequestedOutputTensor, memory: RequestMemory) -> RequestedOutput:
    parameters = parameters_of(tensor.parameters)
    classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise UnreadableInput("classification must be a number of classes")
    return RequestedOutput(tensor.name, classes, place=memory.slice_of(parameters, tensor.name))


def parameters_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a map of parameters, each of its own type."""
    chosen = {name: value.WhichOneof("parameter_choice") for name, value in found.items()}
    return {name: getattr(found[name], choice) for name, choice in chosen.items() if choice}
