"""A request to a policy → observations: named fields, parts or arrays, one or many, inside the observation space.

An image in an observation may be text instead of nested lists. The text is base64, or a data URL, of an opaque image
file of exactly the space's size. Or it is {"b64": "AAEC..."}, base64 of the raw bytes in the order of the space's
shape, which also works for stacks of frames.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers import encoded_image, request_body
from handlers.action_selection import OPTIONS
from handlers.card import Observation
from handlers.errors import InvalidFields, RequestError, shortened
from handlers.spaces import Box, Dict

ONE, MANY = "observation", "instances"
RAW = "b64"
_MODES = {1: "L", 3: "RGB"}  # of Pillow, by the number of channels


def read(payload: Any, observation: Observation) -> NDArray[Any]:
    """Return the observations of one request: [k, *shape], of the network's input type.

    `payload` is parsed JSON: an object of named fields or parts, an array (one observation, or many with one dimension
    more), {"instances": [...]} of either, or {"observation": ...} of one; the last two may hold options beside it.
    Where a part has one of these two names, an object of exactly the parts is an observation (see `envelope`).
    Raises InvalidFields, which names what is missing, unknown or out of range.
    """
    match envelope(payload, observation):
        case "instances":
            return _many(request_body.instances(payload, OPTIONS), observation)
        case "observation":
            _check_beside(payload)
            return _single(payload[ONE], observation)
    if isinstance(payload, list) and isinstance(observation.space, Box):
        return _inside(_array(payload, observation.space), observation)
    return _single(payload, observation)


def envelope(payload: Any, observation: Observation) -> str | None:
    """Return the key under which a request holds its observations; None if the request itself is an observation."""
    if not isinstance(payload, dict):
        return None
    names, own = set(payload), _own(observation)
    # {"instances": ...} alone is always a list of observations, whatever the names of the parts.
    if names == own and names != {MANY}:
        return None
    for key in (MANY, ONE):
        # If a part has the same name, only options may accompany it.
        if key in names and (key not in own or names - {key} <= OPTIONS):
            return key
    return None


def _own(observation: Observation) -> set[str]:
    return set(observation.space.keys if isinstance(observation.space, Dict) else observation.fields or ())


def _check_beside(payload: dict[str, Any]) -> None:
    if unknown := set(payload) - OPTIONS - {ONE}:
        raise InvalidFields(f"unknown field beside {ONE}: {shortened(unknown)}")


def _single(item: Any, observation: Observation) -> NDArray[Any]:
    if isinstance(observation.space, Dict):
        return _parts([item], observation.space, observation)
    return _inside(_one(item, observation, observation.space)[None], observation)


def _many(items: list[Any], observation: Observation) -> NDArray[Any]:
    space = observation.space
    if isinstance(space, Dict):
        return _parts(items, space, observation)
    return _inside(_boxes(items, observation, space), observation)


def _boxes(items: list[Any], observation: Observation, space: Box) -> NDArray[np.float64]:
    if all(type(item) is list for item in items):
        try:
            return _shaped(request_body.number_array(items, len(space.shape) + 1), space)
        except InvalidFields:
            pass  # read again, one by one, to name the instance
    found = []
    for index, item in enumerate(items):
        try:
            found.append(_one(item, observation, space))
        except RequestError as error:
            raise error.within(f"instances[{index}]") from None
    return np.stack(found)


def _one(item: Any, observation: Observation, space: Box) -> NDArray[np.float64]:
    if _is_image_text(item, space):
        return _image(item, space)
    if isinstance(item, dict):
        return _named(item, observation)
    if type(item) in (int, float) and space.shape == (1,) and observation.fields is None:
        item = [item]
    if not isinstance(item, list):
        raise InvalidFields("an observation must be an array or an object of named fields")
    return _value(item, space)


def _value(item: list[Any], space: Box) -> NDArray[np.float64]:
    values: NDArray[np.float64] = _shaped(request_body.number_array(item, len(space.shape))[None], space)[0]
    return values


def _named(item: dict[str, Any], observation: Observation) -> NDArray[np.float64]:
    fields = observation.fields
    if fields is None:
        raise InvalidFields("this policy has no named fields; send an array")
    _check_keys(item, fields, "field")
    try:
        return request_body.number_array([item[field] for field in fields], 1)
    except InvalidFields:
        raise InvalidFields(_not_a_number(item, fields)) from None


def _check_keys(item: dict[str, Any], keys: tuple[str, ...], word: str) -> None:
    if missing := [key for key in keys if key not in item]:
        raise InvalidFields(f"missing {word}: {', '.join(missing)}")
    if unknown := set(item) - set(keys):
        raise InvalidFields(f"unknown {word}: {shortened(unknown)}; the {word}s are {', '.join(keys)}")


def _not_a_number(item: dict[str, Any], fields: tuple[str, ...]) -> str:
    for field in fields:
        try:
            request_body.number_array([item[field]], 1)
        except InvalidFields as error:
            return f"{field}: {error.detail}"
    return "the fields are not numbers"


def _parts(items: list[Any], space: Dict, observation: Observation) -> NDArray[Any]:
    """Return observations of several parts, flat: [k, size]."""
    flat = []
    for index, item in enumerate(items):
        try:
            flat.append(np.concatenate(_parts_of_one(item, space, observation)))
        except RequestError as error:
            raise (error.within(f"instances[{index}]") if len(items) > 1 else error) from None
    return np.stack(flat)


def _parts_of_one(item: Any, space: Dict, observation: Observation) -> list[NDArray[Any]]:
    if not isinstance(item, dict):
        raise InvalidFields(f"an observation must be an object of the parts {', '.join(space.keys)}")
    _check_keys(item, space.keys, "part")
    found = []
    for key, part in space.parts:
        try:
            values = _part(item[key], part)
        except RequestError as error:
            raise error.within(key) from None
        inside = _into_space(values[None], part, observation.out_of_range, (), key)
        found.append(inside.astype(space.network_dtype).ravel())
    return found


def _part(item: Any, part: Box) -> NDArray[np.float64]:
    if _is_image_text(item, part):
        return _image(item, part)
    if type(item) in (int, float) and part.shape == (1,):
        item = [item]
    if not isinstance(item, list):
        raise InvalidFields(f"must be an array of shape {list(part.shape)}")
    return _value(item, part)


def _array(payload: list[Any], space: Box) -> NDArray[np.float64]:
    dimensions = len(space.shape)
    values = request_body.number_array(payload, dimensions + 1)
    return _shaped(values[None] if values.ndim == dimensions else values, space)


def _shaped(values: NDArray[np.float64], space: Box) -> NDArray[np.float64]:
    if space.is_picture and values.ndim == 4 and values.shape[1:] != space.shape and space.is_channels_first:
        # As in Stable-Baselines3: environments return channels last, also where the space has channels first.
        turned = values.transpose(0, 3, 1, 2)
        values = turned if turned.shape[1:] == space.shape else values
    if values.shape[1:] != space.shape or len(values) == 0:
        shape = list(space.shape)
        raise InvalidFields(f"an observation has shape {shape}, many have [N, {', '.join(map(str, shape))}]")
    return values


def _inside(values: NDArray[np.float64], observation: Observation) -> NDArray[Any]:
    space = observation.space
    assert isinstance(space, Box)
    return _into_space(values, space, observation.out_of_range, observation.fields or (), "observation")


def _into_space(
    values: NDArray[np.float64], space: Box, out_of_range: str, fields: tuple[str, ...], name: str
) -> NDArray[Any]:
    """Reject or clip values outside; floats are compared in the space's own type, which its bounds have."""
    if space.dtype.kind == "f":
        with np.errstate(over="ignore"):  # too large for the type becomes infinite and is caught below
            typed = values.astype(space.dtype)
    elif np.any(values % 1):
        raise InvalidFields(f"the {name} must hold whole numbers")
    else:
        typed = values
    if out_of_range == "clip":
        typed = np.clip(typed, space.low, space.high)
    fine = (typed >= space.low) & (typed <= space.high) & np.isfinite(typed)
    if not fine.all():
        raise InvalidFields(_outside(values, fine, space, fields, name))
    return typed.astype(space.network_dtype)


def _outside(
    values: NDArray[np.float64], fine: NDArray[np.bool_], space: Box, fields: tuple[str, ...], name: str
) -> str:
    place = tuple(int(axis) for axis in np.argwhere(~fine)[0])
    instance, inner = place[0], place[1:]
    low, high = space.low[inner], space.high[inner]
    named = fields[inner[0]] if fields else f"{name}{list(inner)}"
    at = f"instances[{instance}]: " if len(values) > 1 else ""
    return f"{at}{named} is {values[place]:.6g}, outside of {low:.6g} to {high:.6g}"


def _is_image_text(item: Any, space: Box) -> bool:
    """Return true for text, or an object of text, where the space holds images."""
    return space.is_picture and (isinstance(item, str) or (isinstance(item, dict) and set(item) == {RAW}))


def _image(item: Any, space: Box) -> NDArray[np.float64]:
    """Return an image sent as text in the space's shape; raises UnreadableInput or InvalidFields."""
    if isinstance(item, dict):
        return _bare(_bytes(item[RAW]), space).astype(np.float64)
    return _image_file(_bytes(item), space).astype(np.float64)


def _bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        raise InvalidFields(f"{RAW} must be text")
    return encoded_image.decode_text(text)[1]


def _bare(data: bytes, space: Box) -> NDArray[np.uint8]:
    if len(data) != math.prod(space.shape):
        size = math.prod(space.shape)
        raise InvalidFields(f"a picture of shape {list(space.shape)} has {size} bytes, not {len(data)}")
    return np.frombuffer(data, np.uint8).reshape(space.shape)


def _image_file(data: bytes, space: Box) -> NDArray[np.uint8]:
    # Imported here: few policies observe images, and fewer receive files.
    from PIL import Image

    from handlers import image_decode

    first = space.is_channels_first
    channels, height, width = space.shape if first else (space.shape[2], *space.shape[:2])
    if channels not in _MODES:
        raise InvalidFields(f"a picture file has 1 or 3 channels, an observation {channels}; send lists or {RAW}")
    announced = encoded_image.size_of(data)
    if announced not in (None, (width, height), (height, width)):  # swapped if the image must be rotated
        raise InvalidFields(f"the picture is {announced[0]} x {announced[1]}, not {width} x {height}")
    image = Image.fromarray(image_decode.decode(data, image_decode.DecodeRules(width * height, background=None)))
    if image.size != (width, height):
        raise InvalidFields(f"the picture is {image.width} x {image.height}, not {width} x {height}")
    pixels = np.asarray(image.convert(_MODES[channels])).reshape(height, width, channels)
    return pixels.transpose(2, 0, 1) if first else pixels
