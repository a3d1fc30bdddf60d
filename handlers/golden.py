"""Golden answers: requests in the archive with the framework's predictions, and the check of actual answers."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handlers import outputs
from handlers.json_object import JsonObject
from handlers.outputs import Difference, HandlerResponse

WIDEST = 1.0
"""The widest tolerance; a wider one would accept any probability."""


@dataclass(frozen=True)
class GoldenSample:
    """A request as a client sends it to TorchServe, and its expected predictions.

    `headers` are those that it has beside its content type.
    """

    content_type: str
    body: bytes
    predictions: list[Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def row(self) -> dict[str, Any]:
        """The row that TorchServe passes to a handler."""
        return {"body": json.loads(self.body) if self.content_type == "application/json" else self.body}


@dataclass(frozen=True)
class GoldenAnswers:
    """All samples of an archive; numbers must agree within `tolerance`, everything else exactly."""

    tolerance: float
    samples: tuple[GoldenSample, ...]


def load(path: Path) -> GoldenAnswers:
    """Read a `golden.json`; raises ValueError."""
    return _read(JsonObject.of_file(path))


def of_document(document: Mapping[str, Any], path: str) -> GoldenAnswers:
    """Read the content of a `golden.json`; raises ValueError, whose text begins with `path`."""
    return _read(JsonObject(document, path))


def _read(root: JsonObject) -> GoldenAnswers:
    tolerance, samples = root.number("tolerance", 0, WIDEST), root.get("samples")
    if not isinstance(samples, list) or not samples:
        raise root.error("samples", "must be a list that is not empty")
    return GoldenAnswers(tolerance, tuple(_sample(item, f"{root.path}: sample {n}") for n, item in enumerate(samples)))


def worst(expected: Any, actual: Any) -> Difference | None:
    """Return the largest difference between two JSON values, None where they are equal."""
    return max(outputs.differences(expected, actual), key=lambda difference: difference.deviation, default=None)


def exceeds_tolerance(expected: Any, actual: Any, tolerance: float) -> Difference | None:
    """Return the largest difference where it exceeds the tolerance, else None."""
    found = worst(expected, actual)
    return found if found is not None and found.deviation > tolerance else None


def misses(expected: Any, body: bytes, tolerance: float) -> str | None:
    """Describe the difference where the body of an answer exceeds the tolerance; None where it does not.

    The answer comes from a version under test, so it may have any content.
    """
    try:
        found = exceeds_tolerance(expected, json.loads(body)["predictions"], tolerance)
    except outputs.MALFORMED:
        return f"{body[:100]!r} holds no predictions to compare"
    return None if found is None else str(found)


def response_misses(expected: list[Any], response: HandlerResponse, tolerance: float) -> str | None:
    """Describe why a response is not the expected one within the tolerance; None where it is.

    The response comes from a version under test, so it may have any content.
    """
    try:
        given = outputs.response_predictions(expected, response)
        found = exceeds_tolerance(expected, given, tolerance)
    except ValueError as error:
        return str(error)
    except outputs.MALFORMED:
        return f"is answered differently: {response.body[:100]!r} holds no predictions to compare"
    return None if found is None else f"is answered differently: {found}"


def _sample(item: Any, place: str) -> GoldenSample:
    section = JsonObject(item if isinstance(item, dict) else {}, place)
    text = section.text("body")
    try:
        body = base64.b64decode(text, validate=True)
    except ValueError:  # binascii's own, or that of text beyond ASCII
        raise section.error("body", "is not base64") from None
    predictions = section.get("predictions")
    if not isinstance(predictions, list) or not predictions:
        raise section.error("predictions", "must be a list that is not empty")
    headers = section.object("headers").values if section.has("headers") else {}
    if not all(isinstance(value, str) for value in headers.values()):
        raise section.error("headers", "must be texts by name")
    return GoldenSample(section.text("content_type"), body, predictions, headers)
