"""`regress`: named numbers with their units."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from handlers.json_object import JsonObject
from handlers.outputs.comparison import Comparison, Difference, comparison_of
from handlers.outputs.numbers import NUMBER, relative_differences, shortest_decimals
from handlers.outputs.output_kind import NetworkOutput, OutputKind, OutputTensor, Prediction, object_schema, part_of


@dataclass(frozen=True)
class RegressSettings:
    """The names of the network's numbers in their order, their units (None without one), and their scale.

    A value is the network's number times `scale` plus `offset`.
    """

    names: tuple[str, ...]
    units: tuple[str | None, ...]
    scale: tuple[float, ...]
    offset: tuple[float, ...]


class Regress(OutputKind):
    """One number for each name."""

    name = "regress"
    acted_on = ("values",)
    example: ClassVar[Prediction] = {"values": {"age": 31.4}, "units": {"age": "years"}}
    schema: ClassVar[Mapping[str, Any]] = object_schema(
        values={"type": "object", "additionalProperties": NUMBER},
        units={"type": "object", "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
    )
    view: ClassVar[Mapping[str, Any]] = {"drawing": "numbers", "values": "values", "units": "units"}

    def settings(self, card: JsonObject) -> RegressSettings:
        """Read `names`, `units`, `scale` and `offset` of `output`; raises ValueError."""
        section = card.object("output")
        names = section.texts("names")
        units = section.get("units")
        if not isinstance(units, list) or not all(unit is None or isinstance(unit, str) for unit in units):
            raise section.error("units", "must be a list of texts, null for a number without a unit")
        if len(units) != len(names):
            raise section.error("units", f"must be {len(names)}, one for each name")
        scale, offset = _each(section, "scale", 1.0, len(names)), _each(section, "offset", 0.0, len(names))
        return RegressSettings(names, tuple(units), scale, offset)

    def network_outputs(self, settings: RegressSettings) -> tuple[NetworkOutput, ...]:
        """Return `values`, one for each name."""
        return (NetworkOutput("values", (len(settings.names),)),)

    def predictions(self, outputs: Mapping[str, Any], settings: RegressSettings) -> list[dict[str, Any]]:
        """Return the scaled numbers and their units by name."""
        import numpy as np

        scaled = outputs["values"].astype(np.float64) * settings.scale + settings.offset
        units = dict(zip(settings.names, settings.units, strict=True))
        return [
            {"values": dict(zip(settings.names, row, strict=True)), "units": units} for row in shortest_decimals(scaled)
        ]

    def tensors(self, card: Mapping[str, Any]) -> tuple[OutputTensor, ...]:
        """Return `values`, FP32 in the order of the names."""
        names = tuple(part_of(card, "output").get("names") or ())

        def read(prediction: Prediction) -> list[Any]:
            return [prediction["values"][name] for name in names]

        return (OutputTensor("values", "FP32", (-1, len(names)), read),)

    def differences(self, expected: Any, actual: Any, path: str) -> Iterator[Difference]:
        """Yield the differences; those of numbers beyond 1 are relative, because units have any scale."""
        return relative_differences(expected, actual, path)

    def compare(self, stable: Prediction, trial: Prediction, tolerance: float) -> Comparison:
        """Compare the numbers of two versions, relative to the larger one where it is beyond 1."""
        return comparison_of(relative_differences(stable.get("values"), trial.get("values"), "$"), tolerance)


def _each(section: JsonObject, key: str, default: float, count: int) -> tuple[float, ...]:
    given = section.values.get(key)
    numbers = [default] * count if given is None else given
    if not isinstance(numbers, list) or len(numbers) != count or not all(map(_is_number, numbers)):
        raise section.error(key, f"must be a list of {count} numbers, one for each name")
    return tuple(map(float, numbers))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


KIND = Regress()
