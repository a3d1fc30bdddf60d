"""`embed`: the vector of an instance, for search and comparison."""

import math
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from handlers.json_object import JsonObject
from handlers.outputs.comparison import Comparison, Difference
from handlers.outputs.numbers import NUMBER, relative_differences, shortest_decimals
from handlers.outputs.output_kind import NetworkOutput, OutputKind, OutputTensor, Prediction, object_schema, part_of


@dataclass(frozen=True)
class EmbedSettings:
    """The length of the vector, and true where it is divided by its Euclidean norm."""

    size: int
    normalize: bool


class Embed(OutputKind):
    """One vector for each instance."""

    name = "embed"
    acted_on = ("embedding",)
    example: ClassVar[Prediction] = {"embedding": [0.6, -0.8]}
    schema: ClassVar[Mapping[str, Any]] = object_schema(embedding={"type": "array", "items": NUMBER})
    view: ClassVar[Mapping[str, Any]] = {"drawing": "vector", "values": "embedding"}

    def settings(self, card: JsonObject) -> EmbedSettings:
        """Read `size` and `normalize` of `output`; raises ValueError."""
        section = card.object("output")
        section.get("normalize")
        return EmbedSettings(section.integer("size", 1), section.boolean("normalize"))

    def network_outputs(self, settings: EmbedSettings) -> tuple[NetworkOutput, ...]:
        """Return `embedding`."""
        return (NetworkOutput("embedding", (settings.size,)),)

    def predictions(self, outputs: Mapping[str, Any], settings: EmbedSettings) -> list[dict[str, Any]]:
        """Return the vectors, of norm 1 where `normalize` says so; a vector of zeros stays."""
        import numpy as np

        vectors = outputs["embedding"].astype(np.float64)
        if settings.normalize:
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.where(norms > 0, norms, 1.0)
        return [{"embedding": row} for row in shortest_decimals(vectors)]

    def tensors(self, card: Mapping[str, Any]) -> tuple[OutputTensor, ...]:
        """Return `embedding`."""
        size = int(part_of(card, "output").get("size") or 0)
        return (OutputTensor("embedding", "FP32", (-1, size), lambda prediction: prediction["embedding"]),)

    def differences(self, expected: Any, actual: Any, path: str) -> Iterator[Difference]:
        """Yield the differences; those of numbers beyond 1 are relative, because vectors have any scale."""
        return relative_differences(expected, actual, path)

    def compare(self, stable: Prediction, trial: Prediction, tolerance: float) -> Comparison:
        """Compare the directions of two versions' vectors: `change` is 1 minus the cosine of their angle."""
        before, after = stable.get("embedding"), trial.get("embedding")
        if not (isinstance(before, list) and isinstance(after, list) and len(before) == len(after)):
            return Comparison(differs=True, first=(before, after))
        length = math.hypot(*before) * math.hypot(*after)
        change = 1.0 - sum(map(operator.mul, before, after)) / length if length else float(before != after)
        return Comparison(change > tolerance, max(change, 0.0), (before, after))


KIND = Embed()
