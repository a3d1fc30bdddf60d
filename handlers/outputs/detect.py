"""`detect`: boxes with labels and scores, in pixels of the upright picture.

    the network's boxes ──threshold, NMS, top k──▶ kept ──placement──▶ pixels of the picture that was sent

Two versions, and golden answers, are compared object by object: a detection belongs to the one of the same label with
the largest IoU (intersection over union, the shared area of two boxes divided by the area of both together).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

from handlers.errors import Internal
from handlers.json_object import JsonObject
from handlers.outputs.class_probabilities import DECIMALS, SHARE
from handlers.outputs.comparison import Comparison, Difference
from handlers.outputs.numbers import NUMBER
from handlers.outputs.output_kind import BYTES, NetworkOutput, OutputKind, OutputTensor, Prediction, object_schema

if TYPE_CHECKING:  # the gateway reads this module and has no numpy
    from numpy.typing import NDArray

SAME = 0.5
"""The smallest IoU at which boxes of two versions show the same object."""
PIXEL_DECIMALS = 3
ROUNDING = 1.5 * 10**-PIXEL_DECIMALS
"""Sides that are no farther apart are equal but for rounding, which weighs much in a box of few pixels."""

Detection = Mapping[str, Any]
"""One of a prediction's `detections`."""


@dataclass(frozen=True)
class DetectSettings:
    """The labels in the order of the network's numbers, and which of its boxes are answered.

    `threshold` is the lowest score, `nms` the IoU from which the lower of two boxes of a label is dropped (None where
    the network has dropped it), `top_k` the most detections of a picture, None for all.
    """

    labels: tuple[str, ...]
    threshold: float
    nms: float | None
    top_k: int | None


class Detect(OutputKind):
    """The objects in a picture, the surest first."""

    name = "detect"
    alone = True
    placed = True
    acted_on = ("detections",)
    example: ClassVar[Prediction] = {
        "detections": [{"label": "cat", "score": 0.94, "box": [12.5, 40.0, 310.25, 402.0]}],
        "width": 640,
        "height": 480,
    }
    schema: ClassVar[Mapping[str, Any]] = object_schema(
        detections={
            "type": "array",
            "items": object_schema(
                label={"type": "string"},
                score=SHARE,
                box={
                    "type": "array",
                    "items": NUMBER,
                    "minItems": 4,
                    "maxItems": 4,
                    "description": "left, top, right, bottom in pixels of the upright picture",
                },
            ),
        },
        width={"type": "integer", "description": "of the upright picture, in pixels"},
        height={"type": "integer"},
    )
    view: ClassVar[Mapping[str, Any]] = {"drawing": "boxes", "values": "detections"}

    def settings(self, card: JsonObject) -> DetectSettings:
        """Read `labels`, and `threshold`, `nms` and `top_k` of `output`; raises ValueError."""
        section = card.object("output")
        nms = None if section.get("nms") == "none" else section.number("nms", 0, 1)
        top_k = section.integer("top_k", 1) if section.has("top_k") else None
        return DetectSettings(card.texts("labels"), section.number("threshold", 0, 1), nms, top_k)

    def network_outputs(self, settings: DetectSettings) -> tuple[NetworkOutput, ...]:
        """Return `boxes`, x and y of two corners in pixels of the network's input, `scores` and `labels`."""
        return NetworkOutput("boxes", (-1, 4)), NetworkOutput("scores", (-1,)), NetworkOutput("labels", (-1,))

    def predictions(self, outputs: Mapping[str, Any], settings: DetectSettings) -> list[dict[str, Any]]:
        """Return the detections of each picture, the surest first, and the picture's size."""
        from handlers import placement

        each = (outputs[name] for name in ("boxes", "scores", "labels", placement.NAME))
        return [
            _prediction(boxes, scores, labels, placement.PicturePlacement.of_row(row), settings)
            for boxes, scores, labels, row in zip(*each, strict=True)
        ]

    def tensors(self, card: Mapping[str, Any]) -> tuple[OutputTensor, ...]:
        """Return `boxes`, `scores` and `labels`, filled up to the most detections, and the `count` of each picture."""
        return (
            OutputTensor("boxes", "FP32", (-1, -1, 4), lambda found: [*chain(*(each["box"] for each in _of(found)))]),
            OutputTensor("scores", "FP32", (-1, -1), lambda found: [each["score"] for each in _of(found)]),
            OutputTensor("labels", BYTES, (-1, -1), lambda found: [each["label"] for each in _of(found)], padding=""),
            OutputTensor("count", "INT64", (-1,), lambda found: [len(_of(found))]),
        )

    def differences(self, expected: Any, actual: Any, path: str) -> Iterator[Difference]:
        """Yield the differences of detections that belong together, 1 - IoU for boxes, and those without a partner."""
        for before, after in _pairs(expected["detections"], actual["detections"]):
            yield from _differences(before, after, f"{path}.detections")
        for side in ("width", "height"):
            yield from _unequal(f"{path}.{side}", expected[side], actual[side], inf)

    def compare(self, stable: Prediction, trial: Prediction, tolerance: float) -> Comparison:
        """Compare two versions: they differ where one finds an object that the other does not.

        `change` is the largest change of an object's score or of 1 - IoU.
        """
        pairs = list(_pairs(_of(stable), _of(trial)))
        lost = next((pair for pair in pairs if not _is_same(*pair)), None)
        found = [each.deviation for pair in pairs for each in _differences(*pair, "$") if each.deviation < inf]
        return Comparison(lost is not None, max(found, default=0.0), lost)


def iou(one: list[float], other: list[float]) -> float:
    """Return the IoU of two boxes [left, top, right, bottom].

    Where one is thinner than a pixel, as at an edge of the picture, both count with a pixel around them: of boxes
    without an area, rounding alone would make two that share nothing.
    """
    around = 1.0 if any(min(box[2] - box[0], box[3] - box[1]) < 1 for box in (one, other)) else 0.0
    wide = min(one[2], other[2]) - max(one[0], other[0]) + 2 * around
    tall = min(one[3], other[3]) - max(one[1], other[1]) + 2 * around
    shared = max(0.0, wide) * max(0.0, tall)
    areas = ((box[2] - box[0] + 2 * around) * (box[3] - box[1] + 2 * around) for box in (one, other))
    return shared / (sum(areas) - shared)


def kept(boxes: "NDArray[Any]", scores: "NDArray[Any]", labels: "NDArray[Any]", nms: float | None) -> "NDArray[Any]":
    """Return the indices of the boxes [n, 4] that NMS keeps, the surest first; equal scores in their order.

    Boxes of one label whose IoU is above `nms` with a surer one that is kept are dropped, as torchvision's
    `batched_nms` does.
    """
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    if nms is None:
        return order
    boxes, labels = boxes[order].astype(np.float64), labels[order]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = np.arange(len(order))
    found = []
    while len(left):
        first, left = left[0], left[1:]
        found.append(first)
        low, high = np.maximum(boxes[first, :2], boxes[left, :2]), np.minimum(boxes[first, 2:], boxes[left, 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        apart = shared <= nms * (areas[first] + areas[left] - shared)
        left = left[apart | (labels[left] != labels[first])]
    return order[np.array(found, dtype=np.intp)]


def _prediction(
    boxes: "NDArray[Any]", scores: "NDArray[Any]", labels: "NDArray[Any]", placed: Any, settings: DetectSettings
) -> dict[str, Any]:
    import numpy as np

    if not len(boxes) == len(scores) == len(labels):
        raise Internal(f"the network returned {len(boxes)} boxes, {len(scores)} scores and {len(labels)} labels")
    sure = np.flatnonzero(scores >= settings.threshold)
    chosen = sure[kept(boxes[sure], scores[sure], labels[sure], settings.nms)][: settings.top_k]
    numbers = labels[chosen]
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(settings.labels):
        raise Internal(f"the network answered with label {numbers.max()}, and the model has {len(settings.labels)}")
    sides = np.round(placed.boxes(boxes[chosen]), PIXEL_DECIMALS).tolist()
    shares = np.round(scores[chosen].astype(np.float64), DECIMALS).tolist()
    height, width = placed.size
    detections = [
        {"label": settings.labels[number], "score": score, "box": box}
        for number, score, box in zip(numbers.tolist(), shares, sides, strict=True)
    ]
    return {"detections": detections, "width": width, "height": height}


def _of(prediction: Prediction) -> list[Detection]:
    found: list[Detection] = prediction["detections"]
    return found


def _pairs(expected: list[Detection], actual: list[Detection]) -> Iterator[tuple[Detection | None, Detection | None]]:
    """Yield each expected detection with its partner: of those left of its label, the one with the largest IoU."""
    left = defaultdict(list)
    for each in actual:
        left[each["label"]].append(each)
    for before in expected:
        partners = left[before["label"]]
        after = max(partners, key=lambda each: iou(before["box"], each["box"]), default=None)
        if after is not None:
            partners.remove(after)
        yield before, after
    yield from ((None, after) for partners in left.values() for after in partners)


def _is_same(before: Detection | None, after: Detection | None) -> bool:
    return before is not None and after is not None and iou(before["box"], after["box"]) >= SAME


def _differences(before: Detection | None, after: Detection | None, path: str) -> Iterator[Difference]:
    if before is None or after is None:
        yield Difference(path, before, after, inf)
        return
    yield from _unequal(f"{path}.score", before["score"], after["score"], before["score"] - after["score"])
    if any(abs(one - other) > ROUNDING for one, other in zip(before["box"], after["box"], strict=True)):
        yield from _unequal(f"{path}.box", before["box"], after["box"], 1.0 - iou(before["box"], after["box"]))


def _unequal(path: str, expected: Any, actual: Any, deviation: float) -> Iterator[Difference]:
    if expected != actual:
        yield Difference(path, expected, actual, abs(deviation))


KIND = Detect()
