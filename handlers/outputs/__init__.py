"""The registry of output kinds: one module a kind, found by its file, read by workers, gateway and delivery alike.

    model card ── of_card ──▶ OutputKind ┬─ settings, network_outputs, predictions   the worker's JSON
                                         ├─ tensors                                  the Open Inference Protocol
                                         ├─ example, schema, view                    OpenAPI document, console
    prediction ── recognizes ──▶         └─ differences, compare                     golden answers, shadow traffic

A module here that defines `KIND` is a kind; adding one needs no other change. These modules import the standard library
only, because the gateway runs without numpy; what needs numpy imports it inside a function.
"""

import functools
import importlib
import json
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

from handlers.errors import RequestError
from handlers.outputs.comparison import Comparison, Difference, json_differences
from handlers.outputs.output_kind import HandlerResponse, NetworkOutput, OutputKind, OutputTensor, listed_predictions

__all__ = [
    "MALFORMED",
    "Comparison",
    "Difference",
    "HandlerResponse",
    "NetworkOutput",
    "OutputKind",
    "OutputTensor",
    "compare_responses",
    "differences",
    "encode_document",
    "encode_error",
    "kinds",
    "of_card",
    "output_tensors",
    "response_predictions",
]


MALFORMED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""The errors of comparing an answer that is not of its kind, such as text where the other has a probability."""


@functools.cache
def kinds() -> tuple[OutputKind, ...]:
    """Return every output kind, by the name of its module."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return tuple(module.KIND for module in modules if hasattr(module, "KIND"))


def of_card(card: Mapping[str, Any]) -> OutputKind | None:
    """Return the output kind of a model card's JSON document; None for an archive without a card of this project."""
    return next((kind for kind in kinds() if kind.describes(card)), None)


def output_tensors(card: Mapping[str, Any]) -> tuple[OutputTensor, ...]:
    """Return the output tensors of a model; none where its card does not say what it answers."""
    kind = of_card(card)
    return () if kind is None else kind.tensors(card)


def response_predictions(expected: list[Any], response: HandlerResponse) -> list[Any]:
    """Return the predictions of a response, read as the kind of the expected ones. Raises ValueError without any."""
    kind = next((kind for kind in kinds() if expected and kind.recognizes(expected[0])), None)
    return listed_predictions(response) if kind is None else kind.response_predictions(response)


def differences(expected: Any, actual: Any) -> Iterator[Difference]:
    """Yield the differences between golden predictions and actual ones, each pair compared as its kind says."""
    if not (isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual)):
        yield from json_differences(expected, actual)
        return
    for index, (left, right) in enumerate(zip(expected, actual, strict=True)):
        kind = next((kind for kind in kinds() if kind.recognizes(left)), None)
        compared = json_differences if kind is None else kind.differences
        yield from compared(left, right, f"$[{index}]")


def compare_responses(stable: bytes, trial: bytes, tolerance: float) -> Comparison:
    """Compare two versions' responses to one request, as the workers encoded them.

    The trial's response may have any content. A response without predictions differs unless it is equal byte for byte.
    """
    if stable == trial:
        return Comparison(differs=False)
    try:
        old, new = json.loads(stable)["predictions"], json.loads(trial)["predictions"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return Comparison(differs=True)
    if not (isinstance(old, list) and isinstance(new, list) and len(old) == len(new)):
        return Comparison(differs=True, first=(_length(old), _length(new)))
    try:
        found = [each for pair in zip(old, new, strict=True) for each in _compared(*pair, tolerance)]
    except MALFORMED:
        return Comparison(differs=True, first=(old, new))
    first = next((each for each in found if each.differs), Comparison(differs=False))
    return Comparison(first.differs, max((each.change for each in found), default=0.0), first.first)


def encode_document(document: Mapping[str, Any]) -> bytes:
    """Encode compact JSON in ASCII: an error may repeat half of a surrogate pair, which UTF-8 cannot hold."""
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def encode_error(error: RequestError) -> bytes:
    """Encode the response to a request without predictions."""
    return encode_document({"error": error.code, "detail": error.detail})


def _compared(stable: Any, trial: Any, tolerance: float) -> list[Comparison]:
    """Compare one pair of predictions as every kind that recognizes one of them; whole where none does."""
    both = isinstance(stable, Mapping) and isinstance(trial, Mapping)
    found = [kind for kind in kinds() if kind.recognizes(stable) or kind.recognizes(trial)] if both else []
    if not found:
        return [Comparison(stable != trial, first=(stable, trial))]
    return [kind.compare(stable, trial, tolerance) for kind in found]


def _length(predictions: Any) -> str:
    return f"{len(predictions)} predictions" if isinstance(predictions, list) else "no predictions"
