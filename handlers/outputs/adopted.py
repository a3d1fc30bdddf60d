"""`adopted`: whatever the handler of an adopted archive answers, with its status and headers.

JSON is compared number by number, everything else byte for byte. A deviation of fractional numbers beyond 1 is
relative to the larger number, because the answers of other makers have any scale; whole numbers are compared exactly.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from handlers.json_object import JsonObject
from handlers.outputs.comparison import Comparison, Difference, comparison_of, json_differences
from handlers.outputs.numbers import relative_differences
from handlers.outputs.output_kind import HandlerResponse, NetworkOutput, OutputKind, Prediction

DEEPEST = 16  # nested lists and objects of an answer that is kept as JSON; a batch of images as lists needs five
JSON_TYPE = "application/json"
CONTENT_TYPE = "content-type"
ENGINE_HEADERS = frozenset(
    {
        "cache-control",
        "connection",
        "content-length",
        "date",
        "expires",
        "pragma",
        "server",
        "transfer-encoding",
        "x-model-version",
        "x-request-id",
        "x-worker-pid",
    }
)
"""Headers that the engine or the added entry writes, and no handler."""


class Adopted(OutputKind):
    """A whole response: {"answer": {"status", "headers", "json" or "base64"}}."""

    name = "adopted"
    acted_on = ("answer",)
    example: ClassVar[Prediction] = {"answer": {"status": 200, "headers": {}, "json": {"tabby": 0.61}}}
    schema: ClassVar[Mapping[str, Any]] = {}
    view: ClassVar[Mapping[str, Any]] = {"drawing": "response", "values": "answer"}

    def is_default_for(self, card: Mapping[str, Any]) -> bool:
        """Return true for the card of an adopted archive."""
        return card.get("kind") == "adopted"

    def settings(self, card: JsonObject) -> Any:
        """Refuse: the archive's own handler answers, and no network of this project."""
        raise card.error("task", "must not be adopted, which is for archives of other makers")

    def network_outputs(self, settings: Any) -> tuple[NetworkOutput, ...]:
        """Raise ValueError, because `settings` accepts no card."""
        raise ValueError("an adopted archive has no network output")

    def predictions(self, outputs: Mapping[str, Any], settings: Any) -> list[dict[str, Any]]:
        """Raise ValueError, because `settings` accepts no card."""
        raise ValueError("an adopted archive makes its predictions itself")

    def response_predictions(self, response: HandlerResponse) -> list[Any]:
        """Return the whole response as the one prediction."""
        return [recorded(response)]

    def differences(self, expected: Any, actual: Any, path: str) -> Iterator[Difference]:
        """Yield the differences in what `expected` records; headers that it does not name may have any value."""
        before, after = expected["answer"], actual.get("answer", {}) if isinstance(actual, Mapping) else {}
        yield from json_differences(before.get("status"), after.get("status"), f"{path}.status")
        for name, value in before.get("headers", {}).items():
            yield from json_differences(value, after.get("headers", {}).get(name), f"{path}.headers.{name}")
        for form in ("json", "base64"):
            if form in before:
                yield from relative_differences(before[form], after.get(form), path)

    def compare(self, stable: Prediction, trial: Prediction, tolerance: float) -> Comparison:
        """Compare whole responses; `change` is the largest deviation of a number."""
        return comparison_of(self.differences(stable, trial, "$"), tolerance)


def recorded(response: HandlerResponse) -> dict[str, Any]:
    """Return a response as a prediction: its body as JSON where it is JSON, else in base64."""
    headers = {name: value for name, value in sorted(response.headers.items()) if name not in ENGINE_HEADERS}
    answer: dict[str, Any] = {"status": response.status, "headers": headers}
    try:
        if _says_json(headers):
            return {"answer": answer | {"json": _json(response.body)}}
    except (ValueError, RecursionError):
        pass
    return {"answer": answer | {"base64": base64.b64encode(response.body).decode("ascii")}}


def _says_json(headers: Mapping[str, str]) -> bool:
    """Return true unless the type says something else; TorchServe's own handlers write no type."""
    media_type = headers.get(CONTENT_TYPE, JSON_TYPE).partition(";")[0].strip().lower()
    return media_type == JSON_TYPE or media_type.endswith("+json")


def _json(body: bytes) -> Any:
    """Parse a body. Raises ValueError for what an archive's documents may not hold, NaN and deep nesting among it."""
    content = json.loads(body, parse_constant=_refuse)
    json.dumps(content, ensure_ascii=False, allow_nan=False).encode()  # no half of a surrogate pair, no 1e999
    if _depth(content) > DEEPEST:
        raise ValueError("too deep")
    return content


def _depth(content: Any) -> int:
    inner = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    return 1 + max(map(_depth, inner), default=0)


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


KIND = Adopted()
