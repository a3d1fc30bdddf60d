"""The signature of a `tensors` model: its named inputs and outputs, as the model card holds them.

    {"batched": true,
     "inputs":  [{"name": "INPUT0", "datatype": "INT32", "shape": [16], "low": 0, "high": null},
                 {"name": "row", "datatype": "FP32", "shape": [2],
                  "columns": [{"name": "age", "unit": "years", "low": 0, "high": 120},
                              {"name": "job", "categories": ["nurse", "pilot"]}]}],
     "outputs": [{"name": "OUTPUT0", "datatype": "INT32", "shape": [16], "labels": null}],
     "examples": [...]}

Shapes are those of one instance, -1 is any size. In a batched model the first axis of every tensor, which the shapes
leave out, counts instances. Columns name the numbers of an input; a category is sent as its text, and the network gets
its index, or the text where the datatype is BYTES. The gateway reads this module too, without numpy.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil, floor, inf, prod
from typing import Any

from handlers.json_object import JsonObject

NUMPY: Mapping[str, str] = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "u2",
    "UINT32": "u4",
    "UINT64": "u8",
    "INT8": "i1",
    "INT16": "i2",
    "INT32": "i4",
    "INT64": "i8",
    "FP16": "f2",
    "BF16": "f4",  # numpy has none; the runtime narrows it
    "FP32": "f4",
    "FP64": "f8",
    "BYTES": "O",  # arrays of bytes objects
}
"""numpy's type of each datatype of the Open Inference Protocol."""
FORMATS = ("NCHW", "NHWC")
ANY_LENGTHS = (3, 5, 2)
"""The sizes of dynamic axes in generated instances, in turn."""
REACH = 1.0  # the largest distance from zero of a generated number without a bound
GOLDEN_RATIO = 0.6180339887


@dataclass(frozen=True, slots=True)
class Column:
    """One named number of an input, with its unit and bounds, or its categories."""

    name: str
    unit: str | None
    low: float | None
    high: float | None
    categories: tuple[str, ...]

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """The bounds of the number that the network gets; those of the index for categories."""
        return (0, len(self.categories) - 1) if self.categories else (self.low, self.high)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output.

    `low` and `high` bound every number of an input, and `format` is the order of a picture's axes. `labels` name the
    numbers of an output.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    low: float | None = None
    high: float | None = None
    columns: tuple[Column, ...] = ()
    labels: tuple[str, ...] = ()
    format: str | None = None

    @property
    def is_dynamic(self) -> bool:
        """True where instances may differ in shape."""
        return -1 in self.shape

    @property
    def is_text(self) -> bool:
        """True for BYTES."""
        return self.datatype == "BYTES"

    @property
    def is_fractional(self) -> bool:
        """True for floating-point numbers."""
        return self.datatype.startswith(("FP", "BF"))

    def bounds(self) -> tuple[list[float], list[float]] | None:
        """Return the bounds of the numbers along the last axis, or of all of them; None where there are none."""
        pairs = [each.bounds for each in self.columns] or [(self.low, self.high)]
        if self.is_text or all(bound is None for pair in pairs for bound in pair):
            return None
        return [-inf if low is None else low for low, _ in pairs], [inf if high is None else high for _, high in pairs]


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs in the order in which the network has them; `examples` are instances as JSON.

    With `utf8` elements of BYTES must be UTF-8.
    """

    batched: bool
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    examples: tuple[Mapping[str, Any], ...] = ()
    utf8: bool = False

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of all inputs; none unless every input has some, so that an instance is a row of them."""
        has_rows = all(each.columns for each in self.inputs)
        return tuple(column for each in self.inputs for column in each.columns) if has_rows else ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names in one instance: of columns, or of inputs."""
        return tuple(each.name for each in self.columns or self.inputs)

    @property
    def size(self) -> int:
        """The elements of one generated instance."""
        return sum(prod(max(ANY_LENGTHS) if size == -1 else size for size in each.shape) for each in self.inputs)

    def example(self, number: int = 0) -> dict[str, Any]:
        """Return an instance as JSON: one of the card's examples, or one generated within the bounds."""
        if self.examples:
            return dict(self.examples[number % len(self.examples)])
        found: dict[str, Any] = {}
        shares = _shares(number)
        length = ANY_LENGTHS[number % len(ANY_LENGTHS)]
        for each in self.inputs:
            if self.columns:
                found |= {column.name: _column_value(column, each, next(shares)) for column in each.columns}
                continue
            shape = [length if size == -1 else size for size in each.shape]
            columns = [None] if not each.columns else each.columns
            values = iter([_number(each, columns[at % len(columns)], next(shares)) for at in range(prod(shape))])
            found[each.name] = _nested(values, shape)
        return found


def read_signature(section: JsonObject) -> Signature:
    """Read the card's `signature`; raises ValueError with the key and the problem."""
    examples = section.values.get("examples") or []
    if not isinstance(examples, list) or not all(isinstance(each, dict) for each in examples):
        raise section.error("examples", "must be a list of objects")
    found = Signature(
        batched=section.boolean("batched"),
        inputs=tuple(_tensor(each) for each in section.objects("inputs")),
        outputs=tuple(_tensor(each) for each in section.objects("outputs")),
        examples=tuple(examples),
    )
    for key, tensors in (("inputs", found.inputs), ("outputs", found.outputs)):
        if len({each.name for each in tensors}) != len(tensors):
            raise section.error(key, "contains a name twice")
    if len(set(found.names)) != len(found.names):
        raise section.error("inputs", "contains a column twice")
    return found


def _tensor(section: JsonObject) -> TensorSpec:
    shape = section.get("shape")
    if not isinstance(shape, list) or any(type(size) is not int or size < -1 for size in shape):
        raise section.error("shape", "must be a list of sizes, -1 for any size")
    return TensorSpec(
        name=section.text("name"),
        datatype=section.choice("datatype", tuple(NUMPY)),
        shape=tuple(shape),
        low=_bound(section, "low"),
        high=_bound(section, "high"),
        columns=tuple(map(_column, section.objects("columns"))) if section.has("columns") else (),
        labels=section.texts("labels") if section.has("labels") else (),
        format=section.choice("format", FORMATS) if section.has("format") else None,
    )


def _column(section: JsonObject) -> Column:
    return Column(
        name=section.text("name"),
        unit=section.text("unit") if section.has("unit") else None,
        low=_bound(section, "low"),
        high=_bound(section, "high"),
        categories=section.texts("categories") if section.has("categories") else (),
    )


def _bound(section: JsonObject, key: str) -> float | None:
    return section.number(key, -inf, inf) if section.has(key) else None


def _shares(number: int) -> Iterator[float]:
    """Yield shares of a range; multiples of the golden ratio fill 0..1 evenly."""
    step = number + 1
    while True:
        yield step * GOLDEN_RATIO % 1.0
        step += 7


def _column_value(column: Column, tensor: TensorSpec, share: float) -> Any:
    if column.categories:
        return column.categories[int(share * len(column.categories))]
    return _number(tensor, column, share)


def _number(tensor: TensorSpec, column: Column | None, share: float) -> Any:
    """Return one element of an input. Text is digits, which more networks read than any other."""
    if tensor.is_text:
        return str(int(share * 100))
    if tensor.datatype == "BOOL":
        return share < 0.5
    if column is not None and column.categories:
        return int(share * len(column.categories))
    low, high = (tensor.low, tensor.high) if column is None else (column.low, column.high)
    if tensor.is_fractional:
        low = low if low is not None else min(-REACH, REACH if high is None else high - REACH)
        high = high if high is not None else max(REACH, low + REACH)
        return round(low + (0.05 + 0.9 * share) * (high - low), 3)
    low = low if low is not None else min(0, 0 if high is None else high)
    high = high if high is not None else low + 1
    return min(floor(high), ceil(low) + int(share * (floor(high) - ceil(low) + 1)))


def _nested(values: Iterator[Any], shape: list[int]) -> Any:
    if not shape:
        return next(values)
    return [_nested(values, shape[1:]) for _ in range(shape[0])]
