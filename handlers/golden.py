"""Golden answers: requests that travel in the archive with the framework's predictions, and how answers compare."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlers import outputs
from handlers.json_object import JsonObject
from handlers.outputs import Difference

WIDEST = 1.0
"""The widest tolerance; with more than that, answers would not be compared."""


@dataclass(frozen=True)
class Sample:
    """A request as a client of TorchServe sends it, and what it must be answered."""

    content_type: str
    body: bytes
    predictions: list[Any]

    @property
    def row(self) -> dict[str, Any]:
        """The row that TorchServe makes of the request."""
        return {"body": json.loads(self.body) if self.content_type == "application/json" else self.body}


@dataclass(frozen=True)
class Golden:
    """All samples of an archive; numbers must agree within `tolerance`, everything else exactly."""

    tolerance: float
    samples: tuple[Sample, ...]


def load(path: Path) -> Golden:
    """Read a `golden.json`; raises ValueError with what is wrong with it."""
    return _read(JsonObject.of_file(path))


def of(document: Mapping[str, Any], place: str) -> Golden:
    """Read the content of a `golden.json`; raises ValueError, opening with `place`, with what is wrong with it."""
    return _read(JsonObject(document, place))


def _read(root: JsonObject) -> Golden:
    tolerance, samples = root.number("tolerance", 0, WIDEST), root.get("samples")
    if not isinstance(samples, list) or not samples:
        raise root.error("samples", "must be a list that is not empty")
    return Golden(tolerance, tuple(_sample(item, f"{root.path}: sample {n}") for n, item in enumerate(samples)))


def worst(expected: Any, actual: Any) -> Difference | None:
    """Return the largest difference between two JSON values, None where they are equal."""
    return max(outputs.differences(expected, actual), key=lambda difference: difference.deviation, default=None)


def outside(expected: Any, actual: Any, tolerance: float) -> Difference | None:
    """Return the largest difference if it leaves the tolerance, else None."""
    found = worst(expected, actual)
    return found if found is not None and found.deviation > tolerance else None


def misses(expected: Any, body: bytes, tolerance: float) -> str | None:
    """Return, in words, where the body of an answer leaves the tolerance; None when it does not.

    The answer comes from code that is on trial: it may be anything.
    """
    try:
        found = outside(expected, json.loads(body)["predictions"], tolerance)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return f"{body[:100]!r} holds no predictions to compare"
    return None if found is None else str(found)


def _sample(item: Any, place: str) -> Sample:
    section = JsonObject(item if isinstance(item, dict) else {}, place)
    text = section.text("body")
    try:
        body = base64.b64decode(text, validate=True)
    except ValueError:  # binascii's own, or that of text beyond ASCII
        raise section.error("body", "is not base64") from None
    predictions = section.get("predictions")
    if not isinstance(predictions, list) or not predictions:
        raise section.error("predictions", "must be a list that is not empty")
    return Sample(section.text("content_type"), body, predictions)
