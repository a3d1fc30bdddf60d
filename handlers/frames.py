"""A picture inside an observation, sent as text instead of nested lists.

Either base64, or a data URL, of an opaque picture file of exactly the space's size, read by the rules of `pictures`; or
{"b64": "AAEC..."}: base64 of the bare bytes in the order of the space's own shape, which takes stacks of frames too.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers import picture_header, picture_text
from handlers.errors import InvalidFields
from handlers.spaces import Box

RAW = "b64"
_MODES = {1: "L", 3: "RGB"}


def is_frame(item: Any, space: Box) -> bool:
    """Whether this is a picture sent as text, to a space that holds pictures."""
    return space.is_picture and (isinstance(item, str) or (isinstance(item, dict) and set(item) == {RAW}))


def read(item: Any, space: Box) -> NDArray[np.float64]:
    """Return the picture in the space's shape; raises UnreadableInput or InvalidFields."""
    if isinstance(item, dict):
        return _raw(_decoded(item[RAW]), space).astype(np.float64)
    return _file(_decoded(item), space).astype(np.float64)


def channels_first(space: Box) -> bool:
    """Whether the first dimension counts the channels; Stable-Baselines3 takes the smallest one for that."""
    return int(np.argmin(space.shape)) == 0


def _decoded(text: Any) -> bytes:
    if not isinstance(text, str):
        raise InvalidFields(f"{RAW} must be text")
    return picture_text.decode(text)[1]


def _raw(data: bytes, space: Box) -> NDArray[np.uint8]:
    if len(data) != math.prod(space.shape):
        size = math.prod(space.shape)
        raise InvalidFields(f"a picture of shape {list(space.shape)} has {size} bytes, not {len(data)}")
    return np.frombuffer(data, np.uint8).reshape(space.shape)


def _file(data: bytes, space: Box) -> NDArray[np.uint8]:
    # Here and not at the top: few policies see pictures, and fewer are sent files.
    from PIL import Image

    from handlers import pictures

    first = channels_first(space)
    channels, height, width = space.shape if first else (space.shape[2], *space.shape[:2])
    if channels not in _MODES:
        raise InvalidFields(f"a picture file has 1 or 3 channels, an observation {channels}; send lists or {RAW}")
    announced = picture_header.size_of(data)
    if announced not in (None, (width, height), (height, width)):  # the other way round where it is to be turned
        raise InvalidFields(f"the picture is {announced[0]} x {announced[1]}, not {width} x {height}")
    image = Image.fromarray(pictures.decode(data, pictures.Rules(width * height, background=None)))
    if image.size != (width, height):
        raise InvalidFields(f"the picture is {image.width} x {image.height}, not {width} x {height}")
    pixels = np.asarray(image.convert(_MODES[channels])).reshape(height, width, channels)
    return pixels.transpose(2, 0, 1) if first else pixels
