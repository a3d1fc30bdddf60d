"""`segment`: the class of every pixel of the upright picture, as a PNG or as run lengths, and the area of each class.

The class is decided at the network's size and enlarged to the picture's: each of its pixels gets the class of the
network's pixel under its centre. Pixels that a crop has dropped have no class.
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

from handlers.json_object import JsonObject
from handlers.outputs import class_map
from handlers.outputs.class_probabilities import sigmoid
from handlers.outputs.comparison import Comparison, Difference
from handlers.outputs.output_kind import BYTES, NetworkOutput, OutputKind, OutputTensor, Prediction, object_schema

if TYPE_CHECKING:  # the gateway reads this module and has no numpy
    from numpy.typing import NDArray

SAME = 0.5
"""The smallest IoU of a class in two versions' maps that counts as the same regions."""
FEW = 0.01
"""The share of a picture below which a class may vanish without a difference between two versions."""
BORDER = 0.001
"""The share of a picture's pixels that may change their class: between two classes, another processor's rounding
decides. The build compares the logits themselves.
"""
SAMPLE = 65_536
"""The most pixels of a map that two versions are compared by."""
_EXAMPLE = "iVBORw0KGgoAAAANSUhEUgAAAAQAAAACCAAAAABawyK/AAAAD0lEQVR4AWNgYGBgBGFGAAATAARFiHJrAAAAAElFTkSuQmCC"
_COUNT = {"type": "integer", "minimum": 0}


@dataclass(frozen=True)
class SegmentSettings:
    """The labels in the order of the classes, the form of the map, and the threshold of a network with one logit.

    `threshold` is None where the largest logit decides.
    """

    labels: tuple[str, ...]
    form: str
    threshold: float | None


class Segment(OutputKind):
    """A class map in the size of the picture."""

    name = "segment"
    placed = True
    acted_on = ("areas",)
    example: ClassVar[Prediction] = {
        "areas": {"background": 5, "cat": 3},
        "width": 4,
        "height": 2,
        "class_map": _EXAMPLE,
    }
    # One of the last two, as `mask` says.
    schema: ClassVar[Mapping[str, Any]] = object_schema(
        areas={"type": "object", "additionalProperties": _COUNT, "description": "pixels of each class, falling"},
        width={"type": "integer", "description": "of the upright picture, in pixels"},
        height={"type": "integer"},
        class_map={
            "type": "string",
            "contentEncoding": "base64",
            "contentMediaType": "image/png",
            "description": "grey values are class numbers in the order of the labels; 255 is not seen",
        },
        masks={
            "type": "object",
            "additionalProperties": {"type": "array", "items": _COUNT},
            "description": "COCO's run lengths of each class, column after column",
        },
    ) | {"required": ["areas", "width", "height"]}
    view: ClassVar[Mapping[str, Any]] = {"drawing": "regions", "values": "areas"}

    def settings(self, card: JsonObject) -> SegmentSettings:
        """Read `labels`, and `activation`, `mask` and `threshold` of `output`; raises ValueError."""
        labels, section = card.texts("labels"), card.object("output")
        form = section.choice("mask", ("png", "rle"))
        if section.choice("activation", ("softmax", "sigmoid")) == "softmax":
            return SegmentSettings(labels, form, None)
        if len(labels) != 2:
            raise card.error("labels", f"must be two where one logit decides, not {len(labels)}")
        return SegmentSettings(labels, form, section.number("threshold", 0, 1))

    def network_outputs(self, settings: SegmentSettings) -> tuple[NetworkOutput, ...]:
        """Return `logits`, one for each label and pixel, or the one of the second label."""
        return (NetworkOutput("logits", (len(settings.labels) if settings.threshold is None else 1, -1, -1)),)

    def predictions(self, outputs: Mapping[str, Any], settings: SegmentSettings) -> list[dict[str, Any]]:
        """Return map and areas of each picture."""
        from handlers import placement

        placed = map(placement.PicturePlacement.of_row, outputs[placement.NAME])
        return [
            _prediction(decided(logits, settings), each, settings)
            for logits, each in zip(outputs["logits"], placed, strict=True)
        ]

    def tensors(self, card: Mapping[str, Any]) -> tuple[OutputTensor, ...]:
        """Return `areas` in the order of the labels, and for maps as PNG the file as `class_map`."""
        labels = tuple(card.get("labels") or ())
        areas = OutputTensor(
            "areas", "INT64", (-1, len(labels)), lambda found: [found["areas"].get(name, 0) for name in labels]
        )
        form = (card.get("output") or {}).get("mask")
        if form != "png":
            return (areas,)
        return areas, OutputTensor("class_map", BYTES, (-1,), lambda found: [base64.b64decode(found["class_map"])])

    def differences(self, expected: Any, actual: Any, path: str) -> Iterator[Difference]:
        """Yield the classes of which more than `BORDER` differs, with that share of the picture."""
        for side in ("width", "height"):
            if expected[side] != actual[side]:
                yield Difference(f"{path}.{side}", expected[side], actual[side], inf)
                return
        if expected["areas"] == actual["areas"] and expected == actual:
            return
        for both, either in class_map.overlaps(*_maps(expected, actual, 1)).values():
            if (share := (either - both) / (expected["width"] * expected["height"])) > BORDER:
                yield Difference(f"{path}.areas", expected["areas"], actual["areas"], share)

    def compare(self, stable: Prediction, trial: Prediction, tolerance: float) -> Comparison:
        """Compare two versions: they differ where the IoU of a class is below one half, unless it is tiny in both.

        `change` is the largest 1 - IoU of a class that is not tiny. Of large maps it is that of a sample, because the
        gateway answers no one meanwhile.
        """
        areas = stable["areas"], trial["areas"]
        if (stable["width"], stable["height"]) != (trial["width"], trial["height"]):
            return Comparison(differs=True, first=areas)
        step = class_map.step_of(stable["width"] * stable["height"], SAMPLE)
        maps = [*_maps(stable, trial, step)]
        least = FEW * len(maps[0])
        shares = (both / either for both, either in class_map.overlaps(*maps).values() if either >= least)
        worst = min(shares, default=1.0)
        return Comparison(worst < SAME, 1.0 - worst, areas)


def decided(logits: "NDArray[Any]", settings: SegmentSettings) -> "NDArray[Any]":
    """Return the class numbers [h, w] of logits [classes, h, w]: the largest logit's, or those of the threshold."""
    import numpy as np

    kind = np.uint8 if len(settings.labels) < 256 else np.uint16
    if settings.threshold is not None:
        return np.asarray(sigmoid(logits[0]) >= settings.threshold, kind)
    # One pass a class over rows that lie together is several times as fast as argmax across them.
    best, found = logits[0].copy(), np.zeros(logits.shape[1:], kind)
    for number, values in enumerate(logits[1:], start=1):
        larger = values > best
        np.copyto(best, values, where=larger)
        found[larger] = number
    return found


def _prediction(numbers: "NDArray[Any]", placed: Any, settings: SegmentSettings) -> dict[str, Any]:
    import numpy as np

    rows, columns = (placed.sources(axis, count) for axis, count in enumerate(numbers.shape))
    # Pixels of the picture for each of the network's.
    shown = (np.bincount(at[at >= 0], minlength=n) for at, n in zip((rows, columns), numbers.shape, strict=True))
    weights = np.outer(*shown)
    areas = np.bincount(numbers.ravel(), weights.ravel(), len(settings.labels)).astype(int).tolist()
    listed = sorted(zip(areas, settings.labels, strict=True), key=lambda each: -each[0])
    # The index -1, of what the network has not seen, takes the row or column that is added at the end.
    missing = class_map.unseen(len(settings.labels))
    whole = np.pad(numbers, (0, 1), constant_values=missing)[:, columns][rows]
    height, width = placed.size
    answer = {"areas": {name: area for area, name in listed if area}, "width": width, "height": height}
    if settings.form == "png":
        return answer | {"class_map": base64.b64encode(class_map.png(whole)).decode("ascii")}
    runs = class_map.rle(whole)
    return answer | {"masks": {settings.labels[each]: counts for each, counts in runs.items() if each != missing}}


def _maps(one: Prediction, other: Prediction, step: int) -> Iterator[Any]:
    """Yield every `step`th class number of two maps. Raises ValueError where one is none, or of another form."""
    if ("class_map" in one) != ("class_map" in other):
        raise ValueError("the class maps have different forms")
    numbers = {name: number for number, name in enumerate(sorted({*one.get("masks", ()), *other.get("masks", ())}))}
    for each in (one, other):
        if "class_map" in each:
            yield class_map.png_pixels(each["class_map"])[::step]
        else:
            yield class_map.rle_pixels(each["masks"], numbers, each["width"] * each["height"], step)


KIND = Segment()
