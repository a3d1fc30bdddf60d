"""Numbers of any scale in predictions: their JSON, and their comparison."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from handlers.outputs.comparison import Difference, json_differences, relative

if TYPE_CHECKING:  # the gateway reads this module and has no numpy
    from numpy.typing import NDArray

NUMBER = {"type": "number"}
"""The JSON Schema of a number."""


def shortest_decimals(values: "NDArray[Any]") -> list[Any]:
    """Return nested lists of numbers, each the shortest decimal that is its 32-bit float."""
    import numpy as np

    # numpy prints a float32 with as many digits as distinguish it from its neighbours.
    return list(values.astype(np.float32).astype("U32").astype(np.float64).tolist())


def relative_differences(expected: Any, actual: Any, path: str) -> Iterator[Difference]:
    """Yield the differences of two JSON values, those of fractional numbers beyond 1 relative to the larger one."""
    return map(relative, json_differences(expected, actual, path))
