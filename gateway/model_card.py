"""The model card that an archive holds and a worker reports: the kind of a model, and the schema of its requests."""

from collections.abc import Mapping
from typing import Any, Literal, cast

Kind = Literal["vision", "policy"]
ModelCard = Mapping[str, Any]

PICTURE_TYPES = ["image/*", "application/octet-stream", "multipart/form-data", "application/json"]


def kind_of(card: ModelCard) -> Kind | None:
    """Return the kind of the model; None for an archive without a card of Marina's."""
    kind = card.get("kind")
    return cast("Kind", kind) if kind in ("vision", "policy") else None


def registration(card: ModelCard) -> dict[str, int]:
    """Return the settings that an upload stamped into the archive: threads of a worker, most states in one request."""
    params = card.get("request_params")
    found = params if isinstance(params, Mapping) else {}
    return {key: found[key] for key in ("threads", "coalesce") if type(found.get(key)) is int and found[key] >= 1}


def public(card: ModelCard) -> dict[str, Any]:
    """Return the part of a card that clients may see: everything but the origin of the weights."""
    shown = {key: value for key, value in card.items() if key not in ("provenance", "request_params", "schema_version")}
    return shown | {"input": input_schema(card)}


def input_schema(card: ModelCard) -> dict[str, Any] | None:
    """Return the form of one input: content types and a JSON Schema; None when the card does not say."""
    kind = kind_of(card)
    if kind == "vision":
        return {"content_types": PICTURE_TYPES, "json_schema": _picture_schema()}
    if kind == "policy":
        schema = _state_schema(card.get("observation") or {})
        options = _options(card.get("action") or {})
        return {"content_types": ["application/json"], "json_schema": schema, "options": options}
    return None


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
