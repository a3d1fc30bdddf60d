"""Request bodies: read from the user's files, or generated to fit the model.

Generated images cost a decoder about as much as photographs. Generated observations lie inside the observation space
of the model card.
"""

import io
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from errors import ConfigError, LoadError
from handlers.json_object import JsonObject
from handlers.signature import read_signature

IMAGE_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
NOISE = 0.2  # share of noise with which a JPEG of quality 90 has about the bytes per pixel of a photograph
UNBOUNDED = 1e6  # a bound beyond this, such as 3.4e38 for CartPole's velocities, is treated as none
MARGIN = 0.98  # of the range: bounds are rounded when they become float32, so values at the edge could be outside


@dataclass(frozen=True)
class RequestSample:
    """A request body, its media type, its number of predictions, and its model (empty: the only model of the run).

    For an adopted archive, whose answers have any form, `status` is that of a right answer; it may have `headers`.
    """

    name: str
    content_type: str
    body: bytes
    items: int = 1
    model: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int | None = None

    @classmethod
    def of_json(cls, name: str, value: object, model: str = "") -> "RequestSample":
        """Return a JSON body for one prediction."""
        return cls(name, "application/json", json.dumps(value, separators=(",", ":")).encode(), model=model)


def from_path(path: Path, most: int) -> tuple[RequestSample, ...]:
    """Read at most `most` samples from a folder of images, one image, or a JSON file, in the order of their names.

    Raises ConfigError in one line when the path holds nothing that can be sent.
    """
    try:
        if path.is_dir():
            return _from_folder(path, most)
        if path.suffix.lower() in IMAGE_TYPES:
            return (_image_file(path),)
        return _json_file(path)[:most]
    except OSError as error:
        raise ConfigError(f"stress.inputs: {path}: {error.strerror}") from None


def _from_folder(folder: Path, most: int) -> tuple[RequestSample, ...]:
    images = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_TYPES and path.is_file())
    if not images:
        raise ConfigError(f"stress.inputs: no picture in {folder}; use one of {', '.join(IMAGE_TYPES)}")
    return tuple(_image_file(path) for path in images[:most])


def _image_file(path: Path) -> RequestSample:
    return RequestSample(path.name, IMAGE_TYPES[path.suffix.lower()], path.read_bytes())


def _json_file(path: Path) -> tuple[RequestSample, ...]:
    """Return one sample for each entry of `[...]` or `{"instances": [...]}`; any other object is one request body."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        raise ConfigError(f"stress.inputs: {path} is neither a picture nor JSON") from None
    if isinstance(content, dict):
        entries = content["instances"] if content.keys() == {"instances"} else [content]
    else:
        entries = content
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"stress.inputs: {path} holds no state")
    if all(isinstance(entry, int | float) for entry in entries):
        entries = [entries]
    return tuple(RequestSample.of_json(f"{path.name}[{number}]", entry) for number, entry in enumerate(entries))


def generate_images(count: int, height: int, width: int, draw: random.Random) -> tuple[RequestSample, ...]:
    """Return `count` different RGB images as JPEG: a gradient under noise. The same `draw` gives the same images."""
    return tuple(_generated_image(f"picture-{number}.jpg", height, width, draw) for number in range(count))


def _generated_image(name: str, height: int, width: int, draw: random.Random) -> RequestSample:
    stream = io.BytesIO()
    bands = [_band(height, width, draw) for _ in range(3)]
    Image.merge("RGB", bands).save(stream, "JPEG", quality=90)
    return RequestSample(name, "image/jpeg", stream.getvalue())


def _band(height: int, width: int, draw: random.Random) -> Image.Image:
    gradient = Image.linear_gradient("L").rotate(draw.choice((0, 90, 180, 270))).resize((width, height))
    noise = Image.frombytes("L", (width, height), draw.randbytes(width * height))
    return Image.blend(gradient, noise, NOISE)


def generate_states(observation: Mapping[str, Any], count: int, draw: random.Random) -> tuple[RequestSample, ...]:
    """Return `count` observations: objects where the card names fields or parts, else arrays of the space's shape.

    Raises LoadError for a space that is neither a box nor a dict of boxes.
    """
    space = observation.get("space")
    kind = space.get("type") if isinstance(space, Mapping) else None
    if not isinstance(space, Mapping) or kind not in ("box", "dict"):
        raise LoadError(
            "states can be generated for boxes and dicts of boxes only; give a JSON file of states as stress.inputs"
        )
    fields = observation.get("fields")
    states = (_parts(space["spaces"], draw) if kind == "dict" else _box(space, fields, draw) for _ in range(count))
    return tuple(RequestSample.of_json(f"state-{number}", state) for number, state in enumerate(states))


def _parts(parts: Sequence[Mapping[str, Any]], draw: random.Random) -> object:
    return as_request_body({part["key"]: _box(part["space"], None, draw) for part in parts})


def generate_instances(signature: Mapping[str, Any], count: int, draw: random.Random) -> tuple[RequestSample, ...]:
    """Return `count` instances of a `tensors` model: those of its card, or generated ones within its bounds.

    Raises LoadError for a signature that cannot be read.
    """
    try:
        known = read_signature(JsonObject(signature, "signature"))
    except ValueError as error:
        raise LoadError(f"the model's {error}; give a JSON file of instances as stress.inputs") from None
    start = draw.randrange(1000)
    return tuple(RequestSample.of_json(f"instance-{number}", known.example(start + number)) for number in range(count))


def as_request_body(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the body for an observation of named parts; `instances` alone would be read as a list of inputs."""
    return {"observation": parts} if parts.keys() == {"instances"} else parts


def _box(space: Mapping[str, Any], fields: list[str] | None, draw: random.Random) -> object:
    shape = [int(length) for length in space["shape"]]
    size = math.prod(shape)
    whole = str(space.get("dtype", "float32")).startswith(("int", "uint"))
    bounds = zip(_flat_bounds(space.get("low"), size), _flat_bounds(space.get("high"), size), strict=True)
    values = [_value(low, high, draw, whole=whole) for low, high in bounds]
    return dict(zip(fields, values, strict=True)) if fields else _shaped(iter(values), shape)


def _value(low: float | None, high: float | None, draw: random.Random, *, whole: bool) -> float:
    """Draw one number: uniform between two bounds, otherwise normal and cut off at the one bound."""
    low = -math.inf if low is None or low < -UNBOUNDED else low
    high = math.inf if high is None or high > UNBOUNDED else high
    if math.isfinite(low) and math.isfinite(high):
        if whole:
            return draw.randint(math.ceil(low), math.floor(high))
        return (low + high) / 2 + (high - low) / 2 * MARGIN * draw.uniform(-1, 1)
    value = min(max(draw.gauss(0, 1), low), high)
    return round(value) if whole else round(value, 6)


def _flat_bounds(bounds: Any, size: int) -> list[float | None]:
    """Return a bound for each number; None or one number holds for all of them."""
    flat = list(_leaves(bounds))
    return flat * size if len(flat) == 1 else flat


def _leaves(bounds: Any) -> Iterator[float | None]:
    if isinstance(bounds, list):
        for bound in bounds:
            yield from _leaves(bound)
    else:
        yield bounds


def _shaped(values: Iterator[float], shape: list[int]) -> object:
    if not shape:
        return next(values)
    return [_shaped(values, shape[1:]) for _ in range(shape[0])]
