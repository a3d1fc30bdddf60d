"""The model card, `model.json`: it describes the model of this archive and its requests.

The manifest holds the version, because an upload may stamp another one into it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from handlers import outputs, request_limits, spaces
from handlers.errors import Internal
from handlers.json_object import JsonObject
from handlers.outputs import NetworkOutput, OutputKind
from handlers.outputs.tensors import REFUSED
from handlers.request_limits import RequestLimits
from handlers.signature import Signature, read_signature

SCHEMA_VERSION = 1
KINDS = ("vision", "policy", "tensors")
REGISTRATION = ("threads", "coalesce")
PRECISIONS = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Artifact:
    """The exported network: its format, file and runtime, and for formats without a graph its description.

    Torch computes it in `precision` and `channels_last`. With `preprocessing` the graph resizes images itself. A
    `single` graph takes a batch of one only.
    """

    format: str
    file: str
    network: Mapping[str, Any] | None
    runtime: str
    precision: str = "float32"
    channels_last: bool = False
    preprocessing: bool = False
    single: bool = False


@dataclass(frozen=True)
class RequestParams:
    """Batch size, delay in milliseconds, and number of workers at registration."""

    batch_size: int
    max_batch_delay: int
    initial_workers: int


@dataclass(frozen=True)
class Preprocessing:
    """Resizing of an image to the network's size; the network scales and normalises it.

    `background` is the colour behind transparent images, `white` the value of white in grey ones of more than 8 bits.
    `channels` are 1 (grey), 3 (RGB) or 4 (RGBA, which needs no background). With `letterbox` the whole image fits into
    `resize`, and `padding`, a value for each channel, fills the rest. Without `antialias` each pixel is interpolated
    between its neighbours alone. `dtype` float32 keeps what 8 bits would round: values from 0 to 255, white.
    """

    resize: tuple[int, int] | int
    interpolation: Literal["bilinear", "bicubic", "lanczos", "nearest"]
    crop: tuple[int, int] | None
    background: tuple[int, int, int] = (255, 255, 255)
    white: float | None = None
    channels: int = 3
    letterbox: bool = False
    padding: tuple[int, ...] | None = None
    antialias: bool = True
    dtype: Literal["uint8", "float32"] = "uint8"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the result."""
        return self.crop or (self.resize if isinstance(self.resize, tuple) else (self.resize, self.resize))


@dataclass(frozen=True)
class Reduced:
    """Decoding of JPEGs at reduced size, never below `margin` times the size of the network's image in them.

    libjpeg's fast cosine transform and fast colour upsampling are less exact than its default ones.
    """

    margin: int
    fast_transform: bool
    fast_upsampling: bool


@dataclass(frozen=True)
class Vision:
    """The part of an image model: labels where it has classes, `reduced` unless JPEGs are decoded at full size."""

    labels: tuple[str, ...]
    preprocessing: Preprocessing
    reduced: Reduced | None = None


@dataclass(frozen=True)
class Observation:
    """Observations of a policy: their space, the names of their numbers, and the rule for values outside the space."""

    space: spaces.ObservationSpace
    fields: tuple[str, ...] | None
    out_of_range: Literal["reject", "clip"]


@dataclass(frozen=True)
class Card:
    """The card of any model; exactly one of `vision`, `observation` and `signature` is set: the part of its kind.

    `document` is the file itself, and `output_settings` the result of the output kind's `settings`.
    """

    model_name: str
    weights: Literal["trained", "random"]
    artifact: Artifact
    request_params: RequestParams
    threads: int | None
    limits: RequestLimits
    vision: Vision | None
    observation: Observation | None
    signature: Signature | None
    output: OutputKind
    output_settings: Any
    document: Mapping[str, Any]

    def stamped(self, manifest: Mapping[str, Any]) -> "Card":
        """Return the card with the registration settings that an upload stamped into the archive's manifest."""
        found = {key: manifest[key] for key in REGISTRATION if type(manifest.get(key)) is int and manifest[key] >= 1}
        params = dict(self.document.get("request_params", {})) | found
        document = dict(self.document) | {"request_params": params}
        return replace(self, threads=found.get("threads", self.threads), document=document)

    @property
    def network_outputs(self) -> tuple[NetworkOutput, ...]:
        """The outputs of the network that predictions are made of, in the order in which it returns them."""
        return self.output.network_outputs(self.output_settings)

    def predictions(self, found: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
        """Turn the network's outputs for k instances into k predictions.

        An instance with a number that is not finite is refused by itself where the kind can do so; otherwise, and where
        no instance is left, raises Internal.
        """
        if not self._is_finite(found, slice(None)):
            found = self._without_broken(found)
        return self.output.predictions(found, self.output_settings)

    def _is_finite(self, found: Mapping[str, NDArray[Any]], rows: slice) -> bool:
        return all(_is_finite(found[each.name][rows]) for each in self.network_outputs)

    def _without_broken(self, found: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Return the outputs with an error for each instance that is not finite."""
        error = Internal("the network's output is not finite")
        if self.signature is None:
            raise error
        count = len(found[self.network_outputs[0].name])
        refused = found.get(REFUSED, np.full(count, None)).copy()
        for row in range(count):
            if refused[row] is None and not self._is_finite(found, slice(row, row + 1)):
                refused[row] = error
        if all(refused):
            raise error
        return {**found, REFUSED: refused}

    def response(self, version: str, field: str, items: list[dict[str, Any]]) -> bytes:
        """Encode the response to one request, its items under `field`; random weights are named."""
        document: dict[str, Any] = {"model": self.model_name, "version": version, field: items}
        if self.weights == "random":
            document["weights"] = "random"
        return outputs.encode_document(document)


def load(path: Path) -> Card:
    """Read and check a `model.json`.

    Raises ValueError with the file, the key and the problem.
    """
    root = JsonObject.of_file(path)
    if root.integer("schema_version", 1) != SCHEMA_VERSION:
        raise root.error("schema_version", f"must be {SCHEMA_VERSION}, the only one that this worker reads")
    kind = root.choice("kind", KINDS)
    output = _output_kind(root)
    return Card(
        model_name=root.text("model_name"),
        weights=cast("Any", root.choice("weights", ("trained", "random"))),
        artifact=_artifact(root.object("artifact")),
        request_params=_request_params(root.object("request_params")),
        threads=root.integer("threads", 1) if root.has("threads") else None,
        limits=_limits(root),
        vision=_vision(root) if kind == "vision" else None,
        observation=_observation(root.object("observation")) if kind == "policy" else None,
        signature=read_signature(root.object("signature")) if kind == "tensors" else None,
        output=output,
        output_settings=output.settings(root),
        document=root.values,
    )


def _is_finite(values: NDArray[Any]) -> bool:
    if values.dtype == object:  # arrays, or texts
        return all(_is_finite(each) for each in values.ravel() if isinstance(each, np.ndarray))
    return bool(np.isfinite(values).all())


def _artifact(section: JsonObject) -> Artifact:
    file = section.text("file")
    if Path(file).name != file:
        raise section.error("file", "must be a file name without folders")
    network = section.object("network").values if section.has("network") else None
    return Artifact(
        format=section.text("format"),
        file=file,
        network=network,
        runtime=section.text("runtime" if "runtime" in section.values else "format"),
        precision=section.choice("precision", PRECISIONS) if "precision" in section.values else "float32",
        channels_last=section.boolean("channels_last"),
        preprocessing=section.boolean("preprocessing"),
        single=section.boolean("single"),
    )


def _request_params(section: JsonObject) -> RequestParams:
    return RequestParams(
        batch_size=section.integer("batch_size", 1),
        max_batch_delay=section.integer("max_batch_delay", 0),
        initial_workers=section.integer("initial_workers", 0),
    )


def _limits(root: JsonObject) -> RequestLimits:
    if root.has("limits"):
        stated = root.object("limits")
        if root.get("kind") != "tensors":
            stated.integer("max_pixels", 1)
        stated.integer("max_instances", 1)
    return request_limits.of_card(root.values)


def _vision(root: JsonObject) -> Vision:
    return Vision(
        labels=root.texts("labels") if root.has("labels") else (),
        preprocessing=_preprocessing(root.object("preprocessing")),
        reduced=_reduced(root) if root.values.get("decode") == "fast" else None,
    )


def _reduced(root: JsonObject) -> Reduced:
    section = root.object("decode_level")
    return Reduced(
        margin=section.integer("margin", 1),
        fast_transform=section.boolean("fast_transform"),
        fast_upsampling=section.boolean("fast_upsampling"),
    )


def _preprocessing(section: JsonObject) -> Preprocessing:
    exact = isinstance(section.get("resize"), list)
    resize = section.integers("resize", 1, length=2) if exact else section.integer("resize", 1)
    crop = section.integers("crop", 1, length=2) if section.has("crop") else None
    letterbox = section.boolean("letterbox")
    if not (exact or letterbox) and crop is None:
        raise section.error("crop", "is needed where resize is one number: a batch must have one size")
    channels = section.integer("channels", 1) if section.has("channels") else 3
    if channels not in (1, 3, 4):
        raise section.error("channels", "must be 1, 3 or 4")
    return Preprocessing(
        resize=cast("Any", resize),
        interpolation=cast("Any", section.choice("interpolation", ("bilinear", "bicubic", "lanczos", "nearest"))),
        crop=cast("Any", crop),
        background=_background(section),
        white=_white(section),
        channels=channels,
        letterbox=letterbox,
        padding=section.integers("padding", 0, length=channels) if section.has("padding") else None,
        antialias=section.boolean("antialias") if section.has("antialias") else True,
        dtype=cast("Any", section.choice("dtype", ("uint8", "float32"))) if section.has("dtype") else "uint8",
    )


def _background(section: JsonObject) -> tuple[int, int, int]:
    if section.values.get("background") is None:
        return Preprocessing.background
    colour = section.integers("background", 0, length=3)
    if max(colour) > 255:
        raise section.error("background", "must be three whole numbers from 0 to 255: red, green, blue")
    return cast("tuple[int, int, int]", colour)


def _white(section: JsonObject) -> float | None:
    return None if section.values.get("white") is None else section.number("white", 2.0**-126, 2.0**32 - 1)


def _output_kind(root: JsonObject) -> OutputKind:
    found = outputs.of_card(root.values)
    built = [kind for kind in outputs.kinds() if kind.name != "adopted"]  # an adopted archive has a handler of its own
    if found not in built:
        raise root.error("task", f"must be one of {', '.join(kind.name for kind in built)}")
    return found


def _observation(section: JsonObject) -> Observation:
    space = spaces.observation_space(section.object("space"))
    fields = section.texts("fields") if section.has("fields") else None
    if fields is not None and (isinstance(space, spaces.Dict) or space.shape != (len(fields),)):
        raise section.error("fields", f"names {len(fields)} numbers of an observation of shape {list(space.shape)}")
    return Observation(space, fields, cast("Any", section.choice("out_of_range", ("reject", "clip"))))
