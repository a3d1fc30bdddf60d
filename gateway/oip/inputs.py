"""Tensors → what the handlers read: the inputs of each kind of model, and the request to the engine they become."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import orjson

from errors import UnreadableInput
from gateway.http.body import OCTETS
from gateway.http.payload import JSON, Payload, from_base64
from gateway.model_card import ModelCard, is_picture, kind_of
from gateway.oip.tensors import BYTES, Tensor, TensorSpec, nested
from handlers import picture_text


@dataclass(frozen=True, slots=True)
class Input:
    """The input tensors of a model, and how tensors that fit them are sent to the engine."""

    specs: tuple[TensorSpec, ...]
    payload: Callable[[Sequence[Tensor]], Payload]


def input_of(card: ModelCard) -> Input | None:
    """What a model reads; None when its card does not say."""
    kind = kind_of(card)
    if kind == "vision":
        return Input((TensorSpec("image", BYTES, (-1,)),), _pictures)
    if kind == "policy":
        space = (card.get("observation") or {}).get("space") or {}
        if space.get("type") == "dict":
            return Input(tuple(_spec(part["key"], part["space"]) for part in space.get("spaces") or ()), _parts)
        return Input((_spec("observation", space),), _observations)
    return None


def _spec(name: str, space: Mapping[str, Any]) -> TensorSpec:
    # As the networks are exported: pictures as bytes, which they scale themselves, all else as 32-bit floats.
    return TensorSpec(name, "UINT8" if is_picture(space) else "FP32", (-1, *space.get("shape", ())))


def _pictures(tensors: Sequence[Tensor]) -> Payload:
    """One picture goes as it is, several as base64 in one JSON document. Text, from JSON, is base64 already."""
    (tensor,) = tensors
    if not all(tensor.values):
        raise UnreadableInput(f"input '{tensor.name}' holds an empty picture")
    if len(tensor.values) == 1:
        (picture,) = tensor.values
        return Payload(*from_base64(picture)) if isinstance(picture, str) else Payload(OCTETS, picture)
    encoded = [_text(each) for each in tensor.values]
    return _json({"instances": encoded})


def _text(picture: str | bytes) -> str:
    """Base64; a worker reads bytes that are text already as what they are, so they stay it."""
    if isinstance(picture, str):
        return picture
    return picture.decode("latin-1") if picture_text.is_text(picture) else base64.b64encode(picture).decode()


def _parts(tensors: Sequence[Tensor]) -> Payload:
    """Observations of several parts, each an object."""
    names = [tensor.name for tensor in tensors]
    rows = [dict(zip(names, values, strict=True)) for values in zip(*map(_rows, tensors), strict=True)]
    return _json({"instances": rows})


def _rows(tensor: Tensor) -> list[Any]:
    if not all(map(isfinite, tensor.values)):
        raise UnreadableInput(f"input '{tensor.name}' holds a number that is not finite")
    return nested(tensor.values, tensor.shape) if len(tensor.shape) > 1 else tensor.values


def _observations(tensors: Sequence[Tensor]) -> Payload:
    """One observation goes as one, so that it can be sent together with those of others; several as instances."""
    rows = _rows(*tensors)
    return _json(rows[0] if len(rows) == 1 else {"instances": rows})


def _json(content: Any) -> Payload:
    return Payload(JSON, orjson.dumps(content), content)
