"""Pictures in JSON, as clients of several servers write them.

    {"image": P}   {"data": P}   P        one picture; P is base64, a data URL, nested lists of numbers,
    {"instances": [...]} of those         or {"b64": base64}, under any name

The result is what each archive's handler reads, also one that was built before: {"instances": [{"image": P}]} with
standard base64.
"""

from collections.abc import Mapping
from typing import Any

from errors import InvalidFields, RequestError
from handlers import encoded_image
from handlers.errors import shortened

_NAMES = frozenset({"image", "data", "b64"})
_DEEPEST = 3
_TARGET = "target"


def picture(content: Any, targets: list[Any] | None = None) -> str | list[Any]:
    """Return one picture as text or nested lists.

    `targets` collects the classes that its client asks about, as TorchServe's clients do; None refuses such a field.
    Raises InvalidFields.
    """
    found = _without_target(content, targets)
    for _ in range(_DEEPEST):
        if not isinstance(found, dict) or len(found) != 1:
            break
        [(name, value)] = found.items()
        if name not in _NAMES and not (isinstance(value, dict) and value.keys() == {"b64"}):
            break
        found = value
    if isinstance(found, str | list):
        return found
    if isinstance(found, dict) and (unknown := {str(name) for name in found} - _NAMES):
        raise InvalidFields(f"unknown field: {shortened(unknown)}")
    raise InvalidFields('a picture is base64 text or nested lists of numbers, in {"image": ...} or {"b64": ...}')


def instances(content: Mapping[str, Any], targets: list[Any] | None = None) -> tuple[list[Any], bool]:
    """Return the pictures under `instances` as {"image": ...}, and whether the client wrote all of them so.

    Raises InvalidFields.
    """
    items = content["instances"]
    if not isinstance(items, list):
        raise InvalidFields("`instances` must be a list")
    found = []
    for index, item in enumerate(items):
        try:
            value = picture(item, targets)
        except RequestError as error:
            raise error.within(f"instances[{index}]") from None
        found.append({"image": _standard(value)})
    return found, found == items


def _without_target(content: Any, targets: list[Any] | None) -> Any:
    if targets is None or not isinstance(content, dict) or _TARGET not in content:
        return content
    targets.append(content[_TARGET])
    return {name: value for name, value in content.items() if name != _TARGET}


def _standard(value: str | list[Any]) -> str | list[Any]:
    """Return text in standard base64 where it is another one; anything wrong is left to the handler's own error."""
    if isinstance(value, list) or not ("-" in value or "_" in value or len(value) % 4 or value[:1] == "\ufeff"):
        return value
    head, comma, encoded = value.removeprefix("\ufeff").rpartition(",")
    return head + comma + encoded_image.standard(encoded)
