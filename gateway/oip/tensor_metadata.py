"""A model's tensors as its card describes them: metadata, the check of a request, and the payload for the engine."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, prod
from typing import Any

import orjson

from errors import UnreadableInput
from gateway.http.body import OCTETS
from gateway.http.content import JSON
from gateway.http.payload import Payload, from_base64
from gateway.model_card import Kind, ModelCard, is_picture, kind_of, signature_of
from gateway.oip.datatypes import BYTES, DATATYPES, Datatype
from gateway.oip.infer_messages import Tensor, nested
from handlers import encoded_image


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """Name, datatype and shape of an input or output; -1 is any size. `format` is the order of a picture's axes."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    format: str | None = None


def _unchanged(sent: Tensor, _: TensorMetadata) -> Tensor:
    return sent


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """The input tensors of a model.

    Attributes:
        metadata: the tensors, in the order of the payload.
        payload: converts checked tensors into the engine's request.
        convert: turns a sent tensor of another datatype or shape into the described one, where that loses nothing.
        is_batched: whether the first dimension of each tensor counts instances; else a request is one instance.
        config_batch: whether the model's configuration counts them in `max_batch_size` instead.

    """

    metadata: tuple[TensorMetadata, ...]
    payload: Callable[[Sequence[Tensor]], Payload]
    convert: Callable[[Tensor, TensorMetadata], Tensor] = _unchanged
    is_batched: bool = True
    config_batch: bool = False

    def check(self, sent: Sequence[Tensor], model: str) -> tuple[Tensor, ...]:
        """Return the sent tensors in the model's order, as the metadata describes them.

        Raises UnreadableInput for any other set, datatype, shape or length, and for different numbers of instances.
        """
        known = {each.name for each in self.metadata}
        for tensor in sent:
            if tensor.name not in known:
                names = ", ".join(f"'{each.name}'" for each in self.metadata)
                raise UnreadableInput(f"model '{model}' has no input '{tensor.name[:80]}'; it reads {names}")
        found = tuple(
            self._checked([each for each in sent if each.name == wanted.name], wanted, model)
            for wanted in self.metadata
        )
        if self.is_batched and len({tensor.shape[0] for tensor in found}) > 1:
            counts = ", ".join(f"'{tensor.name}' {tensor.shape[0]}" for tensor in found)
            raise UnreadableInput(f"the inputs of model '{model}' hold different numbers of instances: {counts}")
        return found

    def instances(self, checked: Sequence[Tensor]) -> int:
        """Return the number of instances in a request's tensors."""
        return checked[0].shape[0] if self.is_batched else 1

    def _checked(self, sent: Sequence[Tensor], wanted: TensorMetadata, model: str) -> Tensor:
        if len(sent) != 1:
            raise UnreadableInput(
                f"model '{model}' reads the input '{wanted.name}' once; it was sent {len(sent)} times"
            )
        (tensor,) = sent
        if len(tensor.values) != prod(tensor.shape):
            raise UnreadableInput(
                f"input '{wanted.name}' of shape {list(tensor.shape)} has {prod(tensor.shape)} elements, "
                f"{len(tensor.values)} were sent"
            )
        tensor = self.convert(tensor, wanted)
        if tensor.datatype != wanted.datatype:
            raise UnreadableInput(
                f"input '{wanted.name}' of model '{model}' has datatype {wanted.datatype}, not {tensor.datatype[:20]}"
            )
        if not _fits(tensor.shape, wanted.shape):
            raise UnreadableInput(
                f"unexpected shape of input '{wanted.name}' of model '{model}': "
                f"expected {list(wanted.shape)}, got {list(tensor.shape)[:8]}"
            )
        if self.is_batched and tensor.shape[0] == 0:
            raise UnreadableInput(f"input '{wanted.name}' of model '{model}' holds no instance")
        return tensor


def inputs_of(card: ModelCard) -> ModelInputs | None:
    """Return the inputs of a model; None when its card does not describe them."""
    kind = kind_of(card)
    found = None if kind is None else _INPUTS.get(kind)
    return None if found is None else found(card)


def _picture_inputs(card: ModelCard) -> ModelInputs:
    del card
    return ModelInputs((TensorMetadata("image", BYTES, (-1,)),), _pictures, _as_pictures)


def _policy_inputs(card: ModelCard) -> ModelInputs:
    space = (card.get("observation") or {}).get("space") or {}
    if space.get("type") == "dict":
        parts = space.get("spaces") or ()
        return ModelInputs(tuple(_observation(part["key"], part["space"]) for part in parts), _parts, _as_numbers)
    return ModelInputs((_observation("observation", space),), _observations, _as_numbers)


def _signature_inputs(card: ModelCard) -> ModelInputs | None:
    signature = signature_of(card)
    if signature is None:
        return None
    count = (-1,) if signature.batched else ()
    metadata = tuple(
        TensorMetadata(each.name, each.datatype, (*count, *each.shape), each.format) for each in signature.inputs
    )
    return ModelInputs(metadata, _named, is_batched=signature.batched, config_batch=signature.batched)


_INPUTS: Mapping[Kind, Callable[[ModelCard], ModelInputs | None]] = {
    "vision": _picture_inputs,
    "policy": _policy_inputs,
    "tensors": _signature_inputs,
}
"""The kinds whose cards describe tensors."""


def _observation(name: str, space: Mapping[str, Any]) -> TensorMetadata:
    # The exported networks scale pictures themselves, so these stay bytes; all other inputs are floats.
    numbers = "FP64" if space.get("dtype") == "float64" else "FP32"
    return TensorMetadata(name, "UINT8" if is_picture(space) else numbers, (-1, *space.get("shape", ())))


def _as_numbers(sent: Tensor, wanted: TensorMetadata) -> Tensor:
    """Return numbers of any datatype as the wanted one.

    Raises UnreadableInput when the wanted datatype does not hold one of them exactly.
    """
    given, needed = DATATYPES[sent.datatype], DATATYPES[wanted.datatype]
    if given is needed or given.kind not in (int, needed.kind):
        return sent
    if not _fits(sent.shape, wanted.shape):
        return replace(sent, datatype=needed.name)  # refused for its shape, whatever its numbers are
    _check_finite(sent)
    if not needed.holds_exactly(sent.values):
        raise UnreadableInput(
            f"input '{sent.name}': {needed.name} does not hold {_inexact(sent.values, needed)!r} exactly; "
            f"round to {needed.name} before you send it"
        )
    return replace(sent, datatype=needed.name)


def _inexact(values: Sequence[float], needed: Datatype) -> float:
    """Return the first value that the datatype does not hold exactly."""
    # Halving converts every value about once more; conversions of single values would take half a minute for millions.
    while len(values) > 1:
        half = len(values) // 2
        values = values[half:] if needed.holds_exactly(values[:half]) else values[:half]
    return values[0]


def _as_pictures(sent: Tensor, _: TensorMetadata) -> Tensor:
    """Return pictures of shape [n, 1], and one picture as [1, size] of UINT8, as the elements of BYTES [n]."""
    if sent.datatype == BYTES and len(sent.shape) == 2 and sent.shape[1] == 1:
        return replace(sent, shape=sent.shape[:1])
    if sent.datatype == "UINT8" and len(sent.shape) == 2 and sent.shape[0] == 1:
        return Tensor(sent.name, BYTES, (1,), [bytes(sent.values)])
    return sent


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    if len(shape) != len(wanted):
        return False
    return all(size >= 0 and expected in (-1, size) for size, expected in zip(shape, wanted, strict=True))


def _pictures(tensors: Sequence[Tensor]) -> Payload:
    """Send one picture as it is, and several as base64 in one JSON document. Text, from JSON, is base64 already."""
    (tensor,) = tensors
    if not all(tensor.values):
        raise UnreadableInput(f"input '{tensor.name}' holds an empty picture")
    if len(tensor.values) == 1:
        (picture,) = tensor.values
        return Payload(*from_base64(picture)) if isinstance(picture, str) else Payload(OCTETS, picture)
    return _json({"instances": [_base64(each) for each in tensor.values]})


def _base64(picture: str | bytes) -> str:
    if isinstance(picture, str):
        return picture
    # Bytes that are text pass through unchanged, because a worker parses them as text.
    return picture.decode("latin-1") if encoded_image.is_text(picture) else base64.b64encode(picture).decode()


def _parts(tensors: Sequence[Tensor]) -> Payload:
    """Send each observation of several parts as an object."""
    names = [tensor.name for tensor in tensors]
    rows = [dict(zip(names, values, strict=True)) for values in zip(*map(_rows, tensors), strict=True)]
    return _json({"instances": rows})


def _observations(tensors: Sequence[Tensor]) -> Payload:
    """Send one observation by itself, so that it can share a batch with others; several are sent as instances."""
    rows = _rows(*tensors)
    return _json(rows[0] if len(rows) == 1 else {"instances": rows})


def _named(tensors: Sequence[Tensor]) -> Payload:
    """Send whole tensors by name."""
    return _json({"inputs": {tensor.name: _elements(tensor) for tensor in tensors}})


def _elements(tensor: Tensor) -> Any:
    if 0 in tensor.shape:
        raise UnreadableInput(f"input '{tensor.name}' of shape {list(tensor.shape)} holds nothing")
    if tensor.datatype == BYTES:
        values: Sequence[Any] = [_text(each) for each in tensor.values]
    else:
        _check_finite(tensor)
        values = tensor.values
    return nested(values, tensor.shape) if tensor.shape else values[0]


def _text(element: str | bytes) -> Any:
    """Return an element of BYTES as JSON has it: text, or base64 where it is none."""
    if isinstance(element, str):
        return element
    try:
        return element.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(element).decode()}


def _rows(tensor: Tensor) -> list[Any]:
    _check_finite(tensor)
    return nested(tensor.values, tensor.shape) if len(tensor.shape) > 1 else list(tensor.values)


def _check_finite(tensor: Tensor) -> None:
    if not all(map(isfinite, tensor.values)):
        raise UnreadableInput(f"input '{tensor.name}' holds a number that is not finite")


def _json(content: Any) -> Payload:
    return Payload(JSON, orjson.dumps(content), content)
