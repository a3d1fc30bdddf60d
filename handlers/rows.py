"""A TorchServe row: the body of one request as TorchServe hands it to a handler.

TorchServe parses `application/json` itself and turns `text/*` into text; a body it fails to parse comes on as bytes.
"""

import json
from collections.abc import Mapping, Set
from typing import Any

from handlers.errors import InvalidFields, UnreadableInput, WrongMediaType

ANYTHING = ("", "application/octet-stream")
"""Media types that say nothing: none given, and what programs send when they do not know."""


def content(row: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the name and value of the parameter that holds the body; raises UnreadableInput without one."""
    for name in ("body", "data"):
        if name in row:
            return name, row[name]
    raise UnreadableInput("the request has no body")


def media_type(headers: Mapping[str, Any], name: str) -> str:
    """Return the media type of a parameter in lower case and without its own parameters; "" where none is given."""
    entry = headers.get(name)
    declared = entry.get("content-type", "") if isinstance(entry, dict) else ""
    return str(declared or "").split(";")[0].strip().lower()


def is_json(media: str) -> bool:
    """Say whether a media type promises JSON."""
    return media == "application/json" or media.endswith("+json")


def require(media: str, prefixes: tuple[str, ...], words: str) -> None:
    """Raise WrongMediaType unless the media type is JSON, says nothing, or starts with one of the prefixes."""
    if not (is_json(media) or media in ANYTHING or media.startswith(prefixes)):
        raise WrongMediaType(f"{media[:100]} is not read here; send {words}")


def parse_json(body: bytes | bytearray | str) -> Any:
    """Parse a body that TorchServe did not; raises UnreadableInput."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise UnreadableInput("the body is not valid JSON") from None


def instances(payload: Mapping[str, Any], beside: Set[str] = frozenset()) -> list[Any]:
    """Return the list under `instances`, which must not be empty; raises InvalidFields.

    Nothing may stand `beside` it but what is named there.
    """
    if unknown := set(payload) - {"instances"} - beside:
        raise InvalidFields(f"unknown field beside instances: {names(unknown)}")
    values = payload["instances"]
    if not isinstance(values, list) or not values:
        raise InvalidFields("instances must be a list that is not empty")
    return values


def names(unknown: set[str]) -> str:
    """List names that a client made up, shortened: they come back in the answer."""
    listed = sorted(unknown)
    return ", ".join(name[:40] for name in listed[:5]) + (", ..." if len(listed) > 5 else "")
