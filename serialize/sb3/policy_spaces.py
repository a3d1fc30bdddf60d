"""Functions over the spaces of a policy: their widths, their text as Gymnasium prints it, and their card.

The spaces are those of `handlers.spaces`, and `DictSpace` for observations of several parts. Unlike the worker's
Dict, whose parts are boxes, a DictSpace keeps the kind of each part: a network receives a Discrete part as a code.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.spaces import Box, Discrete, MultiBinary, MultiDiscrete

SHOWN = 8
"""The most numbers of a bound that `describe` prints."""

Part = Box | Discrete | MultiDiscrete | MultiBinary
ActionSpace = Part


@dataclass(frozen=True)
class DictSpace:
    """Several spaces by key, in the order in which the library concatenates their features."""

    parts: tuple[tuple[str, Part], ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Return the names of the parts."""
        return tuple(key for key, _ in self.parts)


Space = Part | DictSpace


def parts_of(space: Space) -> tuple[tuple[str, Part], ...]:
    """Return the parts of a space by key; a space without parts is one part named "observation"."""
    return space.parts if isinstance(space, DictSpace) else (("observation", space),)


def unbounded_box(width: int) -> Box:
    """Return the space of `width` float32 numbers without bounds."""
    bound = np.full(width, np.inf, np.float32)
    return Box((width,), np.dtype(np.float32), -bound, bound)


def width_of(part: Part) -> int:
    """Return how many numbers a network receives for one observation of the space, or returns for one action."""
    match part:
        case Discrete(n=n):
            return n
        case MultiDiscrete(nvec=nvec):
            return sum(nvec)
        case Box(shape=shape) | MultiBinary(shape=shape):
            return math.prod(shape)


def as_box(part: Part) -> Box:
    """Return the box of the numbers that a client sends for one observation of the space."""
    match part:
        case Box():
            return part
        case Discrete(n=n):
            return _from_zero((1,), "int64", n - 1)
        case MultiDiscrete(nvec=nvec):
            return _from_zero((len(nvec),), "int64", np.array(nvec) - 1)
        case MultiBinary(shape=shape):
            return _from_zero(shape, "int8", 1)


def is_bounded(box: Box) -> bool:
    """Return True if every number of the box has a finite low and high."""
    return bool(np.isfinite(box.low).all() and np.isfinite(box.high).all())


def is_library_image(part: Part) -> bool:
    """Return True for a space that Stable-Baselines3 divides by 255 (`is_image_space` in common/preprocessing.py)."""
    return isinstance(part, Box) and part.is_picture and bool((part.low == 0).all() and (part.high == 255).all())


def bound_list(bound: NDArray[Any]) -> list[float | None]:
    """Return a bound as a flat list, with None where it is infinite."""
    return [value if math.isfinite(value) else None for value in bound.astype(np.float64).ravel().tolist()]


def space_card(space: Space) -> dict[str, Any]:
    """Return the space as the model card holds it."""
    match space:
        case DictSpace(parts=parts):
            return {"type": "dict", "spaces": [{"key": key, "space": space_card(as_box(part))} for key, part in parts]}
        case Box():
            low, high = (_nested(bound) for bound in (space.low, space.high))
            return {"type": "box", "shape": list(space.shape), "dtype": str(space.dtype), "low": low, "high": high}
        case Discrete(n=n, start=start):
            return {"type": "discrete", "n": n, "start": start}
        case MultiDiscrete(nvec=nvec):
            return {"type": "multi_discrete", "nvec": list(nvec)}
        case MultiBinary(n=n, shape=shape):
            return {"type": "multi_binary", "n": n, "shape": list(shape)}


def describe(space: Space) -> str:
    """Return the space as Gymnasium prints it."""
    match space:
        case DictSpace(parts=parts):
            return f"Dict({', '.join(f'{key!r}: {describe(part)}' for key, part in parts)})"
        case Box():
            return f"Box({_printed(space.low)}, {_printed(space.high)}, {space.shape}, {space.dtype})"
        case Discrete(n=n):
            return f"Discrete({n})"
        case MultiDiscrete(nvec=nvec):
            return f"MultiDiscrete([{' '.join(map(str, nvec))}])"
        case MultiBinary(shape=shape):
            return f"MultiBinary({shape[0] if len(shape) == 1 else list(shape)})"


def equal_spaces(one: Space, other: Space) -> bool:
    """Return True for two spaces that are equal but for the digits that text leaves out of a bound."""
    if isinstance(one, DictSpace) and isinstance(other, DictSpace):
        pairs = zip(one.parts, other.parts, strict=False)
        return one.keys == other.keys and all(equal_spaces(a, b) for (_, a), (_, b) in pairs)
    if isinstance(one, Box) and isinstance(other, Box):
        alike = (one.shape, one.dtype) == (other.shape, other.dtype)
        return alike and _close(one.low, other.low) and _close(one.high, other.high)
    return one == other


def _from_zero(shape: tuple[int, ...], dtype: str, high: Any) -> Box:
    return Box(shape, np.dtype(dtype), np.zeros(shape), np.broadcast_to(np.asarray(high, np.float64), shape))


def _close(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return bool(np.allclose(one.astype(np.float64), other.astype(np.float64), rtol=1e-6, atol=1e-8))


def _nested(bound: NDArray[Any]) -> Any:
    flat = bound_list(bound)
    # One number stands for all of an image's, of which there are tens of thousands.
    if bound.ndim > 1 and len(set(flat)) == 1:
        return flat[0]
    return np.array(flat, dtype=object).reshape(bound.shape).tolist()


def _printed(bound: NDArray[Any]) -> str:
    numbers = [f"{value:.8g}" for value in bound.astype(np.float64).ravel().tolist()]
    if len(set(numbers)) == 1:
        return numbers[0]
    shown = numbers if len(numbers) <= SHOWN else [*numbers[: SHOWN // 2], "...", *numbers[-SHOWN // 2 :]]
    return f"[{' '.join(shown)}]"
