"""The model card that an archive holds and a worker reports: the kind of a model, and the schema of its requests."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, cast, get_args

from handlers import outputs
from handlers.json_object import JsonObject
from handlers.signature import Column, Signature, TensorSpec, read_signature

Kind = Literal["vision", "policy", "tensors", "adopted"]
ModelCard = Mapping[str, Any]

_LARGEST_EXAMPLE = 4096  # numbers
PICTURE_TYPES = ["image/*", "application/octet-stream", "multipart/form-data", "application/json"]


def kind_of(card: ModelCard) -> Kind | None:
    """Return the kind of the model; None for an archive without a card of Marina's."""
    kind = card.get("kind")
    return cast("Kind", kind) if kind in get_args(Kind) else None


def first_name(card: ModelCard) -> str | None:
    """Return the name that an adopted archive had before; None for any other card."""
    origin = card.get("provenance") if kind_of(card) == "adopted" else None
    name = origin.get("model_name") if isinstance(origin, Mapping) else None
    return name if isinstance(name, str) else None


def registration(card: ModelCard) -> dict[str, int]:
    """Return the settings that an upload stamped into the archive: threads of a worker, most states in one request."""
    params = card.get("request_params")
    found = params if isinstance(params, Mapping) else {}
    return {key: found[key] for key in ("threads", "coalesce") if type(found.get(key)) is int and found[key] >= 1}


def public(card: ModelCard) -> dict[str, Any]:
    """Return what clients may see of a card: all but the origin of the weights, and the schemas of both directions."""
    shown = {key: value for key, value in card.items() if key not in ("provenance", "request_params", "schema_version")}
    output = outputs.of_card(card)
    return shown | {"input": input_schema(card), "prediction": None if output is None else output.schema}


def input_schema(card: ModelCard) -> dict[str, Any] | None:
    """Return the form of one input: content types and a JSON Schema; None when the card does not say."""
    kind = kind_of(card)
    return None if kind is None else _INPUTS[kind](card)


def signature_of(card: ModelCard) -> Signature | None:
    """Return the signature of a `tensors` model; None for a card that no worker of Marina's reports."""
    try:
        return read_signature(JsonObject(card, "model.json").object("signature"))
    except ValueError:
        return None


def _picture_input(card: ModelCard) -> dict[str, Any]:
    del card
    return {"content_types": PICTURE_TYPES, "json_schema": _picture_schema()}


def _state_input(card: ModelCard) -> dict[str, Any]:
    schema = _state_schema(card.get("observation") or {})
    options = _options(card.get("action") or {})
    return {"content_types": ["application/json"], "json_schema": schema, "options": options}


def _tensor_input(card: ModelCard) -> dict[str, Any] | None:
    """Return the form of an instance, with an example unless that is very large."""
    signature = signature_of(card)
    if signature is None:
        return None
    properties = {each.name: _column_schema(each) for each in signature.columns}
    properties = properties or {each.name: _tensor_schema(each) for each in signature.inputs}
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    example = {"example": signature.example()} if signature.size <= _LARGEST_EXAMPLE else {}
    return {"content_types": ["application/json"], "json_schema": schema} | example


def _adopted_input(card: ModelCard) -> dict[str, Any]:
    """Return anything: an archive's own handler reads it; the content types are those of its samples."""
    return {"content_types": card.get("content_types") or [], "json_schema": {}}


_INPUTS: Mapping[Kind, Callable[[ModelCard], dict[str, Any] | None]] = {
    "vision": _picture_input,
    "policy": _state_input,
    "tensors": _tensor_input,
    "adopted": _adopted_input,
}


def _column_schema(column: Column) -> dict[str, Any]:
    unit = {"x-unit": column.unit} if column.unit else {}
    if column.categories:
        return {"type": "string", "enum": list(column.categories)} | unit
    return _number(column.low, column.high) | unit


def _tensor_schema(tensor: TensorSpec) -> dict[str, Any]:
    bounds = {"x-minimum": tensor.low, "x-maximum": tensor.high}
    stated = {key: value for key, value in bounds.items() if value is not None}
    kind = {} if not tensor.shape else {"type": "array"}
    return kind | {"x-datatype": tensor.datatype, "x-shape": list(tensor.shape)} | stated


def _picture_schema() -> dict[str, Any]:
    image = {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/*"}
    return {"type": "object", "properties": {"image": image}, "required": ["image"], "additionalProperties": False}


def _state_schema(observation: Mapping[str, Any]) -> dict[str, Any]:
    space = observation.get("space") or {}
    fields = observation.get("fields")
    if space.get("type") == "dict":
        parts = {part["key"]: _array_schema(part["space"]) for part in space.get("spaces") or ()}
        return {"type": "object", "properties": parts, "required": list(parts), "additionalProperties": False}
    if not fields:
        return _array_schema(space)
    lows, highs = space.get("low") or [], space.get("high") or []
    properties = {name: _number(_at(lows, position), _at(highs, position)) for position, name in enumerate(fields)}
    return {"type": "object", "properties": properties, "required": list(fields), "additionalProperties": False}


def _array_schema(space: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of nested lists; a picture may also be base64 of a file or of its raw bytes."""
    lists = {"type": "array", "x-shape": space.get("shape"), "x-dtype": space.get("dtype")}
    if not is_picture(space):
        return lists
    file = {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/*"}
    bare = {"b64": {"type": "string", "contentEncoding": "base64"}}
    raw = {"type": "object", "properties": bare, "required": ["b64"], "additionalProperties": False}
    return {"anyOf": [lists, file, raw]}


def is_picture(space: Mapping[str, Any]) -> bool:
    """Return True when a policy takes this space as bytes: three dimensions of them."""
    return space.get("dtype") == "uint8" and len(space.get("shape") or ()) == 3


def _options(action: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that may stand beside `instances` or `observation` in a request."""
    drawn = action.get("distribution") or {}
    options: dict[str, Any] = {}
    if drawn.get("type", "none") != "none":
        options["deterministic"] = {"type": "boolean", "default": True}
        options["seed"] = {"type": "integer", "minimum": 0}
    if drawn.get("masks"):
        options["action_masks"] = {"type": "array", "items": {"type": "array", "items": {"type": "boolean"}}}
    return options


def _at(bounds: Any, position: int) -> Any:
    return bounds[position] if isinstance(bounds, list) and position < len(bounds) else None


def _number(low: Any, high: Any) -> dict[str, Any]:
    bounds = {"minimum": low, "maximum": high}
    return {"type": "number"} | {key: value for key, value in bounds.items() if value is not None}
