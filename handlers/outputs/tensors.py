"""`tensors`: the network's named outputs as they are.

Fractional numbers are the shortest decimals that are their floats. An element of BYTES is text, or {"b64": base64}
where it is no UTF-8.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from handlers.errors import RequestError
from handlers.json_object import JsonObject
from handlers.outputs.comparison import Comparison, Difference, comparison_of
from handlers.outputs.numbers import relative_differences, shortest_decimals
from handlers.outputs.output_kind import NetworkOutput, OutputKind, OutputTensor, Prediction, object_schema
from handlers.signature import Signature, TensorSpec, read_signature

if TYPE_CHECKING:  # the gateway reads this module and has no numpy
    from numpy.typing import NDArray

RAW = "b64"
"""The key of an element of BYTES that is not text."""
REFUSED = "refused instances"
"""The option beside the outputs: for each instance the error that refuses it, or None."""


@dataclass(frozen=True, slots=True)
class NestedTensor(OutputTensor):
    """An output whose rows are nested lists as JSON has them."""

    def joined(self, rows: Sequence[Any]) -> tuple[tuple[int, ...], list[Any]]:
        """Return shape and elements of the tensor for several instances, or for the one of a model without batches."""
        nested: Any = list(rows) if self.batched else rows[0]
        shape: list[int] = []
        values = [nested]
        while len(shape) < len(self.shape):
            lengths = set(map(len, values)) or {0}
            if len(lengths) != 1:
                raise ValueError(f"the instances' outputs '{self.name}' differ in shape")
            shape += lengths
            values = [inner for each in values for inner in each]
        return tuple(shape), values


class NamedTensors(OutputKind):
    """One array for each output of the network."""

    name = "tensors"
    acted_on = ("outputs",)
    example: ClassVar[Prediction] = {"outputs": {"OUTPUT0": [2, 4], "OUTPUT1": [0, 0]}}
    schema: ClassVar[Mapping[str, Any]] = object_schema(outputs={"type": "object"})
    view: ClassVar[Mapping[str, Any]] = {"drawing": "tensors", "values": "outputs"}

    def is_default_for(self, card: Mapping[str, Any]) -> bool:
        """Return true for the card of a model of this kind."""
        return card.get("kind") == "tensors"

    def settings(self, card: JsonObject) -> Signature:
        """Read `signature`; raises ValueError."""
        return read_signature(card.object("signature"))

    def network_outputs(self, settings: Signature) -> tuple[NetworkOutput, ...]:
        """Return the outputs of the signature."""
        return tuple(NetworkOutput(each.name, each.shape) for each in settings.outputs)

    def predictions(self, outputs: Mapping[str, Any], settings: Signature) -> list[dict[str, Any]]:
        """Return the outputs of each instance by name; an error in place of an instance that was refused."""
        columns = {each.name: _json(outputs[each.name], each) for each in settings.outputs}
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        refused = outputs.get(REFUSED, [None] * len(rows))
        return [
            {"outputs": row} if error is None else _refusal(error) for row, error in zip(rows, refused, strict=True)
        ]

    def tensors(self, card: Mapping[str, Any]) -> tuple[OutputTensor, ...]:
        """Return the outputs of the signature."""
        try:
            signature = self.settings(JsonObject(card, "model.json"))
        except ValueError:  # a card that no worker of Marina's reports
            return ()
        return tuple(_nested_tensor(each, signature.batched) for each in signature.outputs)

    def differences(self, expected: Any, actual: Any, path: str) -> Iterator[Difference]:
        """Yield the differences; those of fractional numbers beyond 1 are relative, because outputs have any scale."""
        return relative_differences(expected, actual, path)

    def compare(self, stable: Prediction, trial: Prediction, tolerance: float) -> Comparison:
        """Compare the outputs of two versions: whole numbers, booleans and text exactly."""
        return comparison_of(self.differences(stable.get("outputs"), trial.get("outputs"), "$"), tolerance)


def _refusal(error: RequestError) -> dict[str, Any]:
    return {"error": error.code, "detail": error.detail}


def _nested_tensor(tensor: TensorSpec, batched: bool) -> NestedTensor:
    def read(prediction: Prediction) -> Any:
        found = prediction["outputs"][tensor.name]
        return _bytes(found) if tensor.is_text else found

    shape = (-1, *tensor.shape) if batched else tensor.shape
    return NestedTensor(tensor.name, tensor.datatype, shape, read, tensor.labels, batched=batched)


def _bytes(nested: Any) -> Any:
    if isinstance(nested, list):
        return [_bytes(each) for each in nested]
    return base64.b64decode(nested[RAW]) if isinstance(nested, Mapping) else nested


def _json(values: "NDArray[Any]", tensor: TensorSpec) -> list[Any]:
    """Return nested lists for k instances, [k, *shape] or k arrays."""
    if tensor.is_dynamic:
        return [_json(each[None], replace(tensor, shape=each.shape))[0] for each in values]
    if tensor.is_text:
        return list(map(_text, values.tolist()))
    narrow = tensor.is_fractional and tensor.datatype != "FP64"
    return shortest_decimals(values) if narrow else list(values.tolist())


def _text(nested: Any) -> Any:
    if isinstance(nested, list):
        return [_text(each) for each in nested]
    if isinstance(nested, str):
        return nested
    try:
        return nested.decode()
    except UnicodeDecodeError:
        return {RAW: base64.b64encode(nested).decode("ascii")}


KIND = NamedTensors()
