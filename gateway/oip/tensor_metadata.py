"""A model's tensors as its card describes them: metadata, the check of a request, and the payload for the engine."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from typing import Any

import orjson

from errors import UnreadableInput
from gateway.http.body import OCTETS
from gateway.http.payload import JSON, Payload, from_base64
from gateway.model_card import ModelCard, is_picture, kind_of
from gateway.oip.infer_messages import BYTES, Tensor, nested
from handlers import encoded_image


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """Name, datatype and shape of an input or output; -1 is any size, and the first dimension counts instances."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """The input tensors of a model; `payload` converts checked tensors into the engine's request."""

    metadata: tuple[TensorMetadata, ...]
    payload: Callable[[Sequence[Tensor]], Payload]

    def check(self, sent: Sequence[Tensor], model: str) -> tuple[Tensor, ...]:
        """Return the sent tensors in the model's order.

        Raises UnreadableInput for any other set, datatype, shape or length, and for different numbers of instances.
        """
        known = {each.name for each in self.metadata}
        for tensor in sent:
            if tensor.name not in known:
                names = ", ".join(f"'{each.name}'" for each in self.metadata)
                raise UnreadableInput(f"model '{model}' has no input '{tensor.name[:80]}'; it reads {names}")
        found = tuple(
            _checked([each for each in sent if each.name == wanted.name], wanted, model) for wanted in self.metadata
        )
        if len({tensor.shape[0] for tensor in found}) > 1:
            counts = ", ".join(f"'{tensor.name}' {tensor.shape[0]}" for tensor in found)
            raise UnreadableInput(f"the inputs of model '{model}' hold different numbers of instances: {counts}")
        return found


def inputs_of(card: ModelCard) -> ModelInputs | None:
    """Return the inputs of a model; None when its card does not describe them."""
    kind = kind_of(card)
    if kind == "vision":
        return ModelInputs((TensorMetadata("image", BYTES, (-1,)),), _pictures)
    if kind == "policy":
        space = (card.get("observation") or {}).get("space") or {}
        if space.get("type") == "dict":
            parts = space.get("spaces") or ()
            return ModelInputs(tuple(_observation(part["key"], part["space"]) for part in parts), _parts)
        return ModelInputs((_observation("observation", space),), _observations)
    return None


def _observation(name: str, space: Mapping[str, Any]) -> TensorMetadata:
    # The exported networks scale pictures themselves, so these stay bytes; all other inputs are 32-bit floats.
    return TensorMetadata(name, "UINT8" if is_picture(space) else "FP32", (-1, *space.get("shape", ())))


def _checked(sent: Sequence[Tensor], wanted: TensorMetadata, model: str) -> Tensor:
    if len(sent) != 1:
        raise UnreadableInput(f"model '{model}' reads the input '{wanted.name}' once; it was sent {len(sent)} times")
    (tensor,) = sent
    if tensor.datatype != wanted.datatype:
        raise UnreadableInput(
            f"input '{wanted.name}' of model '{model}' has datatype {wanted.datatype}, not {tensor.datatype[:20]}"
        )
    if not _fits(tensor.shape, wanted.shape):
        raise UnreadableInput(
            f"unexpected shape of input '{wanted.name}' of model '{model}': "
            f"expected {list(wanted.shape)}, got {list(tensor.shape)[:8]}"
        )
    if tensor.shape[0] == 0:
        raise UnreadableInput(f"input '{wanted.name}' of model '{model}' holds no instance")
    if len(tensor.values) != prod(tensor.shape):
        raise UnreadableInput(
            f"input '{wanted.name}' of shape {list(tensor.shape)} has {prod(tensor.shape)} elements, "
            f"{len(tensor.values)} were sent"
        )
    return tensor


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


def _rows(tensor: Tensor) -> list[Any]:
    if not all(map(isfinite, tensor.values)):
        raise UnreadableInput(f"input '{tensor.name}' holds a number that is not finite")
    return nested(tensor.values, tensor.shape) if len(tensor.shape) > 1 else tensor.values


def _json(content: Any) -> Payload:
    return Payload(JSON, orjson.dumps(content), content)
