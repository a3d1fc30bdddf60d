"""The golden requests of a `tensors` model, and the framework's own answers to them, without the worker's code.

    instances ──▶ requests, as JSON
        └────────▶ arrays, one instance at a time ──ONNX Runtime, torch──▶ Reference

The worker reads the same requests, and must come to the same arrays.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from errors import BuildError, ParityError, RequestError
from handlers.model_handler import ModelHandler
from handlers.outputs import NetworkOutput
from handlers.signature import NUMPY, Signature, TensorSpec
from handlers.tensor_records import Tensors, empty
from serialize.graph_file import first_line
from serialize.loaded_model import LoadedModel
from serialize.offline_handler import read_request
from serialize.reference import Reference
from serialize.sample_requests import SampleRequest

SINGLE, BATCH = 3, 5
"""Golden requests of one instance, and the instances of one request with many."""
LARGE = 20_000
"""Characters of an instance in JSON above which there are fewer of them: a worker reads them at each start."""

Instance = Mapping[str, Any]


def tensor_requests(loaded: LoadedModel) -> list[SampleRequest]:
    """Return requests of one instance, and of many: as instances, and as whole tensors where all have one shape."""
    assert loaded.signature is not None
    return [SampleRequest("application/json", body) for body, _ in _requests(loaded.signature)]


def tensor_references(loaded: LoadedModel, handler: ModelHandler) -> list[Reference]:
    """Return the framework's outputs for each request. Raises ParityError where the worker reads other arrays."""
    assert loaded.signature is not None
    found = []
    for body, instances in _requests(loaded.signature):
        request = SampleRequest("application/json", body)
        arrays = [_arrays(each, loaded.signature) for each in instances]
        try:
            inputs = read_request(handler, request).inputs
        except RequestError as error:
            raise ParityError(f"golden request {body[:200]!r}: the worker refuses it: {error.detail}") from None
        _check_same(inputs, arrays, loaded.signature)
        found.append(Reference(request, inputs, _outputs(loaded, arrays)))
    return found


def _requests(signature: Signature) -> list[tuple[bytes, list[Instance]]]:
    """Return bodies with the instances in them."""
    is_large = len(json.dumps(signature.example())) > LARGE
    single, batch = (1, 2) if is_large else (SINGLE, BATCH)
    instances: list[Instance] = [signature.example(number) for number in range(single + batch)]
    found: list[tuple[Any, list[Instance]]] = [(each, [each]) for each in instances[:single]]
    many = instances[single:]
    found.append(({"instances": many}, many))
    if signature.batched and not is_large and not any(each.is_dynamic for each in signature.inputs):
        found.append(({"inputs": {name: [each[name] for each in many] for name in signature.names}}, many))
    elif not signature.batched and not signature.columns:
        found.append(({"inputs": many[0]}, many[:1]))
    return [(json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode(), each) for body, each in found]


def _arrays(instance: Instance, signature: Signature) -> Tensors:
    return {each.name: _array(instance, each, bool(signature.columns)) for each in signature.inputs}


def _array(instance: Instance, tensor: TensorSpec, is_row: bool) -> NDArray[Any]:
    if not is_row:
        value = instance[tensor.name]
    else:
        codes = [
            column.categories.index(instance[column.name])
            if column.categories and not tensor.is_text
            else instance[column.name]
            for column in tensor.columns
        ]
        value = codes if tensor.shape else codes[0]
    if not tensor.is_text:
        return np.array(value, NUMPY[tensor.datatype])
    texts = np.array(value, object)
    return np.array([text.encode() for text in texts.ravel()], object).reshape(texts.shape)


def _check_same(inputs: NDArray[Any], arrays: list[Tensors], signature: Signature) -> None:
    for each in signature.inputs:
        for index, expected in enumerate(arrays):
            if not np.array_equal(inputs[index][each.name], expected[each.name]):
                raise ParityError(f"the worker reads {each.name} of instance {index} differently")


def _outputs(loaded: LoadedModel, arrays: list[Tensors]) -> dict[str, NDArray[Any]]:
    """Run the framework on each instance by itself."""
    assert loaded.signature is not None
    assert loaded.run is not None
    found = {each.name: empty(len(arrays), each) for each in loaded.signature.outputs}
    for index, inputs in enumerate(arrays):
        batched = loaded.signature.batched
        given = {name: values[None] if batched else values for name, values in inputs.items()}
        try:
            outputs = loaded.run(given)
        except BuildError:
            raise
        except Exception as error:
            shapes = {name: list(values.shape) for name, values in given.items()}
            raise BuildError(
                f"the network does not take {shapes}: {first_line(error)}; see served_model.inputs, batched and samples"
            ) from error
        for each in loaded.signature.outputs:
            found[each.name][index] = _checked(each, outputs.get(each.name), batched)
    return found


def _checked(tensor: TensorSpec, found: NDArray[Any] | None, batched: bool) -> NDArray[Any]:
    """Return one instance's output. Raises BuildError unless it is as declared."""
    wanted = np.dtype(NUMPY[tensor.datatype])
    shape = (1, *tensor.shape) if batched else tensor.shape
    if found is None or found.dtype != wanted or not NetworkOutput(tensor.name, shape).fits(found.shape):
        given = "nothing of this name" if found is None else f"{found.dtype} {list(found.shape)}"
        raise BuildError(
            f"the network returns {given} for output {tensor.name}, which served_model.outputs declares as "
            f"{tensor.datatype} {list(shape)}"
        )
    return found[0] if batched else found
