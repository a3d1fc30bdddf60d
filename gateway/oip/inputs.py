"""Tensors → what the handlers read: the one input of each kind of model, and the request to the engine it becomes."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import orjson

from errors import UnreadableInput
from gateway.body import OCTETS
from gateway.card import Card, kind_of
from gateway.forms import JSON, Payload
from gateway.oip.tensors import BYTES, Tensor, TensorSpec, nested
from gateway.pictures import from_base64


@dataclass(frozen=True, slots=True)
class Input:
    """The input tensor of a model, and how a tensor that fits it is sent to the engine."""

    spec: TensorSpec
    payload: Callable[[Tensor], Payload]


def input_of(card: Card) -> Input | None:
    """What a model reads; None when its card does not say."""
    kind = kind_of(card)
    if kind == "vision":
        return Input(TensorSpec("image", BYTES, (-1,)), _pictures)
    if kind == "policy":
        space = (card.get("observation") or {}).get("space") or {}
        return Input(TensorSpec("observation", _datatype(space), (-1, *space.get("shape", ()))), _observations)
    return None


def _datatype(space: Mapping[str, Any]) -> str:
    # As the networks are exported: pictures as bytes, which they scale themselves, all else as 32-bit floats.
    picture = space.get("dtype") == "uint8" and len(space.get("shape") or ()) == 3
    return "UINT8" if picture else "FP32"


def _pictures(tensor: Tensor) -> Payload:
    """One picture goes as it is, several as base64 in one JSON document. Text, from JSON, is base64 already."""
    if not all(tensor.values):
        raise UnreadableInput(f"input '{tensor.name}' holds an empty picture")
    if len(tensor.values) == 1:
        (picture,) = tensor.values
        return Payload(*from_base64(picture)) if isinstance(picture, str) else Payload(OCTETS, picture)
    encoded = [each if isinstance(each, str) else base64.b64encode(each).decode() for each in tensor.values]
    return Payload(JSON, orjson.dumps({"instances": encoded}))


def _observations(tensor: Tensor) -> Payload:
    """One observation goes as one, so that it can be sent together with those of others; several as instances."""
    if not all(map(isfinite, tensor.values)):
        raise UnreadableInput(f"input '{tensor.name}' holds a number that is not finite")
    rows = nested(tensor.values, tensor.shape) if len(tensor.shape) > 1 else tensor.values
    return Payload(JSON, orjson.dumps(rows[0] if len(rows) == 1 else {"instances": rows}))
