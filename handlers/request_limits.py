"""The limits of one request: its instances, and the total pixels of its images.

The model card holds the limits. The gateway checks a request before it forwards it. The worker checks it again, because
clients can reach it without the gateway. Both use this module, which needs only the standard library.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from handlers import encoded_image
from handlers.errors import TooLarge

MAX_PIXELS = 100_000_000
MAX_OBSERVED_PIXELS = 10_000_000
MAX_INSTANCES = {"vision": 64, "policy": 4096, "tensors": 4096}
"""The limits of a card without any; `served_model.limits` explains them."""


@dataclass(frozen=True)
class RequestLimits:
    """The limits of a request to one model.

    An observation has `dimensions`, the `keys` of its parts or fields, and `pixels` where it holds images. The lists
    under `inputs` count instances in a batched model and in a table. `kind` is None where the card does not say what
    the model reads.
    """

    kind: str | None
    max_pixels: int
    max_instances: int
    dimensions: int = 0
    pixels: int = 0
    keys: frozenset[str] = frozenset()
    counts_inputs: bool = False


def of_card(card: Mapping[str, Any]) -> RequestLimits:
    """Return the limits of a model card's JSON document; an invalid limit counts as missing."""
    kind = next((known for known in MAX_INSTANCES if known == card.get("kind")), None)
    pixels = _stated(card, "max_pixels", MAX_OBSERVED_PIXELS if kind == "policy" else MAX_PIXELS)
    instances = _stated(card, "max_instances", MAX_INSTANCES.get(kind or "", 0))
    if kind == "tensors":
        return RequestLimits(kind, pixels, instances, counts_inputs=_counts_inputs(card.get("signature")))
    if kind != "policy":
        return RequestLimits(kind, pixels, instances)
    observation = card.get("observation") or {}
    space = observation.get("space") or {}
    parts = {str(part.get("key")): part.get("space") or {} for part in space.get("spaces") or ()}
    keys = frozenset(parts or observation.get("fields") or ())
    return RequestLimits(
        kind, pixels, instances, len(space.get("shape") or ()), sum(map(_pixels, [space, *parts.values()])), keys
    )


def _counts_inputs(signature: Any) -> bool:
    if not isinstance(signature, Mapping) or not isinstance(signature.get("inputs"), list):
        return False
    has_columns = any(isinstance(each, Mapping) and each.get("columns") for each in signature["inputs"])
    return signature.get("batched") is True or has_columns


def _stated(card: Mapping[str, Any], key: str, default: int) -> int:
    stated = card.get("limits")
    value = stated.get(key) if isinstance(stated, Mapping) else None
    return value if type(value) is int and value >= 1 else default


def check(limits: RequestLimits, payload: Any) -> None:
    """Raise TooLarge for a request beyond the limits.

    `payload` is parsed JSON, text, or the bytes of one image; an unreadable payload passes here and fails when it is
    read.
    """
    checks = {"policy": _check_observations, "tensors": _check_tensors}
    checks.get(limits.kind or "", _check_pictures)(limits, payload)


def _check_observations(limits: RequestLimits, payload: Any) -> None:
    count = _observations(payload, limits)
    _check_count(limits, count)
    _check_pixels(limits, count, count * limits.pixels, "")


def _check_tensors(limits: RequestLimits, payload: Any) -> None:
    """Count the instances in a list of them, or along the first axis of the longest tensor."""
    if not isinstance(payload, dict):
        return
    instances, inputs = payload.get("instances"), payload.get("inputs")
    lists = [instances, *(inputs.values() if limits.counts_inputs and isinstance(inputs, dict) else ())]
    _check_count(limits, max((len(each) for each in lists if isinstance(each, list)), default=1))


def _check_pictures(limits: RequestLimits, payload: Any) -> None:
    pictures = _pictures(payload)
    _check_count(limits, len(pictures))
    sizes = [size for size in map(_announced, pictures) if size is not None]
    shown = f"{sizes[0][0]} x {sizes[0][1]}" if len(pictures) == len(sizes) == 1 else ""
    _check_pixels(limits, len(pictures), sum(width * height for width, height in sizes), shown)


def _check_pixels(limits: RequestLimits, count: int, pixels: int, shown: str) -> None:
    if pixels > limits.max_pixels:
        what = f"the picture has {shown or pixels}" if count == 1 else f"the {count} pictures have together {pixels}"
        raise TooLarge(f"{what} pixels, more than the {limits.max_pixels} that one request may have")


def _check_count(limits: RequestLimits, count: int) -> None:
    if limits.kind is not None and count > limits.max_instances:
        raise TooLarge(
            f"the request has {count} instances, more than the {limits.max_instances} that one may have; send several"
        )


def _pictures(payload: Any) -> list[Any]:
    if isinstance(payload, dict) and isinstance(payload.get("instances"), list):
        return list(payload["instances"])
    return [payload]


def _announced(item: Any) -> tuple[int, int] | None:
    """Return (width, height) from the header of one image, None where it cannot be read."""
    if isinstance(item, dict):
        item = item.get("image")
    if isinstance(item, bytes | bytearray):
        size = encoded_image.size_of(item)
        if size is not None or not encoded_image.is_text(item):
            return size
        item = item.decode("latin-1")
    return encoded_image.size_of_text(item) if isinstance(item, str) else _listed(item)


def _listed(item: Any) -> tuple[int, int] | None:
    if isinstance(item, list) and item and isinstance(item[0], list):
        return len(item[0]), len(item)
    return None


def _observations(payload: Any, limits: RequestLimits) -> int:
    if isinstance(payload, dict):
        instances = payload.get("instances")
        # A part of an observation may be named `instances`.
        return len(instances) if isinstance(instances, list) and limits.keys != set(payload) else 1
    # A list is one observation, or several with one dimension more.
    return len(payload) if isinstance(payload, list) and sum(1 for _ in _nest(payload)) > limits.dimensions > 0 else 1


def _nest(value: Any) -> Iterator[list[Any]]:
    while isinstance(value, list) and value:
        yield value
        value = value[0]


def _pixels(space: Mapping[str, Any]) -> int:
    """Return the pixels of a space of images: three dimensions of bytes, the smallest of which counts channels."""
    shape = space.get("shape") or ()
    return prod(shape) // max(1, min(shape)) if space.get("dtype") == "uint8" and len(shape) == 3 else 0
