"""Selects a reduced JPEG decode for `decode: fast` and `auto`, if the model's own answers allow it.

Each level uses libjpeg's scaled cosine transform to a half, a quarter or an eighth, and never goes below `margin` times
the size to which the whole image is resized. The rest of the resizing uses torchvision's integer grid of the whole
image. The grid is required: with a box that is not rounded to it, a sensitive network changed its top-1 label on four
times as many images.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from archive.manifest import CARD
from errors import ParityError
from handlers import image_decode, image_preprocess, outputs
from handlers.card import Preprocessing, Reduced
from handlers.errors import RequestError
from handlers.image_decode import DecodeRules, Reduction
from handlers.json_object import JsonObject
from handlers.outputs.class_probabilities import ClassKind
from handlers.request_limits import MAX_PIXELS
from serialize.calibration import CalibrationImages
from serialize.loaded_model import LoadedModel
from serialize.sample_requests import SampleRequest
from settings.schema import VisionModel

logger = logging.getLogger(__name__)

WHOLE = 4096
"""A margin that no image reaches: full size, with only the fast transform and upsampling."""

# Least work first: fewer pixels save more than the fast transform and upsampling.
KINDS = ((True, True), (False, True), (False, False))
LEVELS = (*(Reduced(margin, *kinds) for margin in (1, 2, 3) for kinds in KINDS), Reduced(WHOLE, True, True))
BATCH = 16

Probabilities = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class LevelResult:
    """The effect of one level on the answers."""

    level: Reduced
    top1: float
    change: float

    def card(self) -> dict[str, Any]:
        """Return the result for the model card."""
        return {**asdict(self.level), "top1": round(self.top1, 5), "change": round(self.change, 5)}


def select_decode(
    model: VisionModel, loaded: LoadedModel, load: Callable[[], CalibrationImages], own: bool
) -> dict[str, Any]:
    """Return the card's entries about decoding: `decode`, and for anything but exact the level and the figures.

    `own` is True for a handler with its own resizing. Raises ParityError if the settings require `fast` and no level
    stays within the limits.
    """
    if model.decode == "exact":
        return {"decode": "exact"}
    if own:
        return _refused(model, "the handler has its own image_processing, which needs whole pictures", {})
    probabilities = _probabilities({"kind": model.kind, "task": model.task, **loaded.card})
    if probabilities is None:
        return _refused(model, "it is measured by class probabilities, and this model gives none", {})
    images = load()
    jpegs = [request for request in images.requests if request.content_type == "image/jpeg"]
    settings = Preprocessing(**model.preprocessing.model_dump(include={each.name for each in fields(Preprocessing)}))
    exact, _ = _read(jpegs, settings, None)
    limits = model.decode_limits
    report: dict[str, Any] = {"limits": limits.model_dump(), "pictures": images.origin, "jpegs": len(exact)}
    tried: list[LevelResult] = []
    if not exact:
        return _refused(model, f"no JPEG to measure it on ({images.origin})", report)
    expected = _logits(loaded, exact)
    for level in LEVELS:
        reduced, smaller = _read(jpegs, settings, level)
        if not smaller and level.margin < WHOLE:
            continue  # no image is large enough for this level
        tried.append(_compared(level, expected, _logits(loaded, reduced), probabilities))
        logger.info("%s: decode %s", model.model_name, _summary(tried[-1]))
        if tried[-1].top1 >= limits.top1 and tried[-1].change <= limits.change:
            report["levels"] = [each.card() for each in tried]
            return {"decode": "fast", "decode_level": asdict(level), "decode_report": report}
    report["levels"] = [each.card() for each in tried]
    summary = "; ".join(_summary(each) for each in tried)
    return _refused(
        model, f"on {len(exact)} JPEGs ({images.origin}) no level stays inside {limits!r}: {summary}", report
    )


def _probabilities(card: dict[str, Any]) -> Probabilities | None:
    """Return the function that makes class probabilities of logits; None for a model without classes."""
    kind = outputs.of_card(card)
    if not isinstance(kind, ClassKind) or not kind.first_label:
        return None
    return functools.partial(kind.probabilities, settings=kind.settings(JsonObject(card, CARD)))


def _refused(model: VisionModel, reason: str, report: dict[str, Any]) -> dict[str, Any]:
    if model.decode == "fast":
        raise ParityError(f"{model.model_name}: decode fast changes the answers: {reason}; nothing is packed")
    logger.warning("%s: decode stays exact: %s", model.model_name, reason)
    return {"decode": "exact", "decode_report": report | {"reason": reason}}


def _read(
    requests: Sequence[SampleRequest], settings: Preprocessing, level: Reduced | None
) -> tuple[list[NDArray[np.uint8]], int]:
    """Return the network's input for each readable image, and the number of images that were decoded smaller."""
    rules = DecodeRules(MAX_PIXELS, settings.background, settings.white, settings.channels)
    reduction = None if level is None else Reduction(level, lambda size: image_preprocess.grid(size, settings))
    seen, smaller = [], 0
    for request in requests:
        try:
            picture, whole = image_decode.decode_reduced(request.body, rules, reduction)
        except RequestError as error:
            logger.warning("a picture for calibration is left out: %s", error.detail)
            continue
        smaller += picture.shape[:2] != whole
        seen.append(image_preprocess.apply(picture, settings, whole))
    return seen, smaller


def _logits(loaded: LoadedModel, inputs: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    with torch.inference_mode():
        batches = [np.stack(inputs[start : start + BATCH]) for start in range(0, len(inputs), BATCH)]
        return np.concatenate([loaded.network(torch.from_numpy(batch)).double().numpy() for batch in batches])


def _compared(
    level: Reduced, expected: NDArray[np.float64], found: NDArray[np.float64], probabilities: Probabilities
) -> LevelResult:
    same = float(np.mean(expected.argmax(axis=1) == found.argmax(axis=1)))
    return LevelResult(level, same, float(np.abs(probabilities(expected) - probabilities(found)).max()))


def _summary(result: LevelResult) -> str:
    level = result.level
    size = "whole size" if level.margin == WHOLE else f"margin {level.margin}"
    kinds = [
        name for name, fast in (("transform", level.fast_transform), ("upsampling", level.fast_upsampling)) if fast
    ]
    return f"{size}, fast {' and '.join(kinds) or 'nothing'}: top-1 {result.top1:.1%}, change {result.change:.3f}"
