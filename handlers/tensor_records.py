"""Instances of a `tensors` model as one structured array: a record an instance, a field an input.

    records ──SignatureRuntime: instances of one shape as one batch──▶ network ──▶ outputs by name, one an instance

A field is an array of the input's shape; where instances may differ in shape, it holds an array of its own for each.
The same holds for outputs: [k, *shape], or k arrays.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.outputs import NetworkOutput
from handlers.signature import NUMPY, Signature, TensorSpec

Tensors = Mapping[str, NDArray[Any]]
Run = Callable[[Tensors], Tensors]
"""One run of the network: inputs by name → outputs by name, with the axis that counts instances where there is one."""


def numpy_type(tensor: TensorSpec) -> np.dtype[Any]:
    """Return the type of the elements of an input or output."""
    return np.dtype(NUMPY[tensor.datatype])


def empty(count: int, tensor: TensorSpec) -> NDArray[Any]:
    """Return an array for `count` instances of a tensor: [count, *shape], or of arrays where their shapes differ."""
    return np.empty(count, object) if tensor.is_dynamic else np.empty((count, *tensor.shape), numpy_type(tensor))


def records_of(inputs: Sequence[TensorSpec], values: Mapping[str, Iterable[Any]], count: int) -> NDArray[Any]:
    """Return `count` records; `values` has an array for each instance of each input, or one array of all of them."""
    fields = [(each.name, object) if each.is_dynamic else (each.name, numpy_type(each), each.shape) for each in inputs]
    found = np.empty(count, np.dtype(fields))
    for each in inputs:
        for index, value in enumerate(values[each.name]):
            is_scalar = isinstance(value, np.ndarray) and value.ndim == 0
            found[each.name][index] = value[()] if is_scalar else value
    return found


@dataclass(frozen=True, eq=False)
class SignatureRuntime:
    """A network with the inputs and outputs of a signature."""

    run: Run
    signature: Signature

    def __call__(self, inputs: NDArray[Any]) -> Tensors:
        """Run the network on k records, those of one shape together; raises ValueError for other outputs than declared.

        A network that is not batched runs once for each record.
        """
        if self.signature.batched:
            groups = self._same_shapes(inputs)
            if len(groups) == 1:
                return self._batch(inputs)
            parts = [(places, self._batch(inputs[places])) for places in groups]
        else:
            parts = [([place], self._alone(inputs[place])) for place in range(len(inputs))]
        return {each.name: _joined(each, parts, len(inputs)) for each in self.signature.outputs}

    def _same_shapes(self, inputs: NDArray[Any]) -> list[list[int]]:
        """Return the places of the records of each shape."""
        dynamic = [each.name for each in self.signature.inputs if each.is_dynamic]
        places: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for place in range(len(inputs)) if dynamic else ():
            places.setdefault(tuple(inputs[name][place].shape for name in dynamic), []).append(place)
        return list(places.values()) or [list(range(len(inputs)))]

    def _batch(self, inputs: NDArray[Any]) -> Tensors:
        columns = {each.name: _stacked(each, inputs[each.name]) for each in self.signature.inputs}
        found = self.run(columns)
        return {
            each.name: _apart(_checked(each, found.get(each.name), (len(inputs),)), each)
            for each in self.signature.outputs
        }

    def _alone(self, record: Any) -> Tensors:
        found = self.run({each.name: np.array(record[each.name], numpy_type(each)) for each in self.signature.inputs})
        return {
            each.name: _apart(_checked(each, found.get(each.name), ())[None], each) for each in self.signature.outputs
        }


def _stacked(tensor: TensorSpec, values: NDArray[Any]) -> NDArray[Any]:
    # A copy, because torch takes no field of packed records, whose strides are odd.
    return np.stack(list(values)) if tensor.is_dynamic else values.copy()


def _apart(values: NDArray[Any], tensor: TensorSpec) -> NDArray[Any]:
    if not tensor.is_dynamic:
        return values
    found = empty(len(values), tensor)
    for index, value in enumerate(values):
        found[index] = value
    return found


def _joined(tensor: TensorSpec, parts: Iterable[tuple[list[int], Tensors]], count: int) -> NDArray[Any]:
    found = empty(count, tensor)
    for places, outputs in parts:
        found[places] = outputs[tensor.name]
    return found


def _checked(tensor: TensorSpec, found: NDArray[Any] | None, count: tuple[int, ...]) -> NDArray[Any]:
    wanted = NetworkOutput(tensor.name, (*count, *tensor.shape))
    if found is None or not wanted.fits(found.shape) or found.dtype.kind != numpy_type(tensor).kind:
        given = "nothing" if found is None else f"{found.dtype} {list(found.shape)}"
        raise ValueError(
            f"the network must return {tensor.name} as {tensor.datatype} {list(wanted.shape)}, it returned {given}"
        )
    return found.astype(numpy_type(tensor), copy=False)
