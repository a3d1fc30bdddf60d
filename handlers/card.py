"""The model card: `model.json`, which says what the model of this archive is and how it is asked.

It holds no version: the manifest does, because an upload may stamp another one into it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from handlers import distributions, limits, spaces
from handlers.distributions import Distribution
from handlers.limits import Limits
from handlers.section import Section

SCHEMA_VERSION = 1
REGISTRATION = ("threads", "coalesce")
PRECISIONS = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Artifact:
    """The exported network: its format, its file, what runs it, and for formats without a graph how to build it.

    `precision` and `channels_last` are how torch is to compute it; `preprocessing` says that a graph resizes by itself.
    """

    format: str
    file: str
    network: Mapping[str, Any] | None
    runtime: str
    precision: str = "float32"
    channels_last: bool = False
    preprocessing: bool = False


@dataclass(frozen=True)
class RequestParams:
    """What the model is registered with; the delay is in milliseconds."""

    batch_size: int
    max_batch_delay: int
    initial_workers: int


@dataclass(frozen=True)
class Preprocessing:
    """How a picture gets the network's size; the network itself scales and normalises it.

    `background` lies behind transparent pictures, `white` is the value that is white in grey ones of more than 8 bits.
    """

    resize: tuple[int, int] | int
    interpolation: Literal["bilinear", "bicubic", "nearest"]
    crop: tuple[int, int] | None
    background: tuple[int, int, int] = (255, 255, 255)
    white: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what comes out."""
        return self.crop or cast("tuple[int, int]", self.resize)


@dataclass(frozen=True)
class Output:
    """How logits become an answer; `thresholds` has one entry a label."""

    activation: Literal["softmax", "sigmoid"]
    thresholds: tuple[float, ...]
    top_k: int | None


@dataclass(frozen=True)
class Reduced:
    """How JPEGs are read at reduced size: never below `margin` times the size that the network's picture has in them.

    libjpeg's fast cosine transform and fast colour upsampling are less exact than its default ones.
    """

    margin: int
    fast_transform: bool
    fast_upsampling: bool


@dataclass(frozen=True)
class Vision:
    """What only a picture model has; `reduced` is null where JPEGs are read at full size."""

    labels: tuple[str, ...]
    preprocessing: Preprocessing
    output: Output
    reduced: Reduced | None = None


@dataclass(frozen=True)
class Observation:
    """What a policy sees: its space, the names of its numbers, and what a value outside the space gets."""

    space: spaces.ObservationSpace
    fields: tuple[str, ...] | None
    out_of_range: Literal["reject", "clip"]


@dataclass(frozen=True)
class Policy:
    """What only a policy has."""

    observation: Observation
    action: spaces.ActionSpace
    distribution: Distribution


@dataclass(frozen=True)
class Card:
    """The card of any model; exactly one of `vision` and `policy` is set, and `document` is the file itself."""

    model_name: str
    weights: Literal["trained", "random"]
    artifact: Artifact
    request_params: RequestParams
    threads: int | None
    limits: Limits
    vision: Vision | None
    policy: Policy | None
    document: Mapping[str, Any]

    def stamped(self, manifest: Mapping[str, Any]) -> "Card":
        """The card with what an upload stamped into the archive's manifest for this registration."""
        found = {key: manifest[key] for key in REGISTRATION if type(manifest.get(key)) is int and manifest[key] >= 1}
        params = dict(self.document.get("request_params", {})) | found
        document = dict(self.document) | {"request_params": params}
        return replace(self, threads=found.get("threads", self.threads), document=document)

    @property
    def network_output(self) -> tuple[str, tuple[int, ...]]:
        """Name of the network's output that answers are made of, and its shape for one instance."""
        if self.policy is not None:
            return spaces.network_output(self.policy.action, gaussian=self.policy.distribution.kind == "gaussian")
        assert self.vision is not None
        return "logits", (len(self.vision.labels),)


def load(path: Path) -> Card:
    """Read and check a `model.json`.

    Raises ValueError with the file, the key and what is wrong with it.
    """
    root = Section.of_file(path)
    if root.integer("schema_version", 1) != SCHEMA_VERSION:
        raise root.fault("schema_version", f"must be {SCHEMA_VERSION}: this worker reads no other")
    kind = root.choice("kind", ("vision", "policy"))
    return Card(
        model_name=root.text("model_name"),
        weights=cast("Any", root.choice("weights", ("trained", "random"))),
        artifact=_artifact(root.section("artifact")),
        request_params=_request_params(root.section("request_params")),
        threads=root.integer("threads", 1) if root.values.get("threads") is not None else None,
        limits=_limits(root),
        vision=_vision(root) if kind == "vision" else None,
        policy=_policy(root) if kind == "policy" else None,
        document=root.values,
    )


def _artifact(section: Section) -> Artifact:
    file = section.text("file")
    if Path(file).name != file:
        raise section.fault("file", "must be a file name without folders")
    network = section.section("network").values if section.values.get("network") is not None else None
    return Artifact(
        format=section.text("format"),
        file=file,
        network=network,
        runtime=section.text("runtime" if "runtime" in section.values else "format"),
        precision=section.choice("precision", PRECISIONS) if "precision" in section.values else "float32",
        channels_last=section.boolean("channels_last"),
        preprocessing=section.boolean("preprocessing"),
    )


def _request_params(section: Section) -> RequestParams:
    return RequestParams(
        batch_size=section.integer("batch_size", 1),
        max_batch_delay=section.integer("max_batch_delay", 0),
        initial_workers=section.integer("initial_workers", 0),
    )


def _limits(root: Section) -> Limits:
    if root.values.get("limits") is not None:
        stated = root.section("limits")
        stated.integer("max_pixels", 1)
        stated.integer("max_instances", 1)
    return limits.of(root.values)


def _vision(root: Section) -> Vision:
    labels = root.texts("labels")
    return Vision(
        labels=labels,
        preprocessing=_preprocessing(root.section("preprocessing")),
        output=_output(root.section("output"), len(labels)),
        reduced=_reduced(root) if root.values.get("decode") == "fast" else None,
    )


def _reduced(root: Section) -> Reduced:
    section = root.section("decode_level")
    return Reduced(
        margin=section.integer("margin", 1),
        fast_transform=section.boolean("fast_transform"),
        fast_upsampling=section.boolean("fast_upsampling"),
    )


def _preprocessing(section: Section) -> Preprocessing:
    exact = isinstance(section.get("resize"), list)
    resize = section.integers("resize", 1, length=2) if exact else section.integer("resize", 1)
    crop = section.integers("crop", 1, length=2) if section.values.get("crop") is not None else None
    if not exact and crop is None:
        raise section.fault("crop", "is needed where resize is one number: a batch must have one size")
    interpolation = section.choice("interpolation", ("bilinear", "bicubic", "nearest"))
    return Preprocessing(
        cast("Any", resize), cast("Any", interpolation), cast("Any", crop), _background(section), _white(section)
    )


def _background(section: Section) -> tuple[int, int, int]:
    if section.values.get("background") is None:
        return Preprocessing.background
    colour = section.integers("background", 0, length=3)
    if max(colour) > 255:
        raise section.fault("background", "must be three whole numbers from 0 to 255: red, green, blue")
    return cast("tuple[int, int, int]", colour)


def _white(section: Section) -> float | None:
    return None if section.values.get("white") is None else section.number("white", 2.0**-126, 2.0**32 - 1)


def _output(section: Section, classes: int) -> Output:
    thresholds = section.values.get("thresholds", 0.5)
    each = thresholds if isinstance(thresholds, list) else [thresholds] * classes
    if len(each) != classes or any(not isinstance(item, int | float) or not 0 <= item <= 1 for item in each):
        raise section.fault("thresholds", f"must be one number, or {classes}, between 0 and 1")
    top_k = section.integer("top_k", 1) if section.values.get("top_k") is not None else None
    activation = section.choice("activation", ("softmax", "sigmoid"))
    return Output(cast("Any", activation), tuple(float(item) for item in each), top_k)


def _policy(root: Section) -> Policy:
    section = root.section("observation")
    space = spaces.observation_space(section.section("space"))
    fields = section.texts("fields") if section.values.get("fields") is not None else None
    if fields is not None and (isinstance(space, spaces.Dict) or space.shape != (len(fields),)):
        raise section.fault("fields", f"names {len(fields)} numbers of an observation of shape {list(space.shape)}")
    out_of_range = section.choice("out_of_range", ("reject", "clip"))
    observation = Observation(space, fields, cast("Any", out_of_range))
    action = spaces.action_space(root.section("action").section("space"))
    return Policy(observation, action, distributions.read(root.section("action"), action))
