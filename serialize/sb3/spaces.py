"""Gymnasium's spaces: what a policy observes and what it answers with."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

SHOWN = 8
"""Numbers of a bound that an error shows at most."""


@dataclass(frozen=True)
class Box:
    """An array of numbers; low and high are flat, None where unbounded."""

    shape: tuple[int, ...]
    dtype: str
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]

    @property
    def features(self) -> int:
        """Values that a network is given for one observation."""
        return math.prod(self.shape)

    outputs = features

    @property
    def bounded(self) -> bool:
        """Whether every number has a low and a high."""
        return None not in self.low and None not in self.high

    @property
    def holds_bytes(self) -> bool:
        """Whether the network takes it as bytes: three dimensions of them."""
        return len(self.shape) == 3 and self.dtype == "uint8"

    @property
    def is_picture(self) -> bool:
        """Whether Stable-Baselines3 divides it by 255 (`is_image_space` in its common/preprocessing.py)."""
        full = all(value == 0 for value in self.low) and all(value == 255 for value in self.high)
        return self.holds_bytes and full

    def card(self) -> dict[str, Any]:
        """As the model card holds it."""
        low, high = (self._bound(bound) for bound in (self.low, self.high))
        return {"type": "box", "shape": list(self.shape), "dtype": self.dtype, "low": low, "high": high}

    def __str__(self) -> str:
        """As gymnasium prints it."""
        low, high = (_printed(bound, none) for bound, none in ((self.low, "-inf"), (self.high, "inf")))
        return f"Box({low}, {high}, {self.shape}, {self.dtype})"

    def _bound(self, bound: tuple[float | None, ...]) -> Any:
        # One number stands for all of a picture's, of which there are tens of thousands.
        if len(self.shape) > 1 and len(set(bound)) == 1:
            return bound[0]
        return np.array(bound, dtype=object).reshape(self.shape).tolist()

    def as_box(self) -> "Box":
        """How an observation of this space is asked for."""
        return self


@dataclass(frozen=True)
class Discrete:
    """One of `n`, counted from 0: the library's `predict` does so whatever the space's own start is."""

    n: int

    def __str__(self) -> str:
        """As gymnasium prints it."""
        return f"Discrete({self.n})"

    @property
    def sizes(self) -> list[int]:
        """How many values each number may take."""
        return [self.n]

    @property
    def features(self) -> int:
        """Values that a network is given: one code."""
        return self.n

    outputs = features

    def card(self) -> dict[str, Any]:
        """As the model card holds it."""
        return {"type": "discrete", "n": self.n, "start": 0}

    def as_box(self) -> Box:
        """How an observation of this space is asked for: a whole number."""
        return Box((1,), "int64", (0.0,), (self.n - 1.0,))


@dataclass(frozen=True)
class MultiDiscrete:
    """Several numbers, the i-th one of `nvec[i]`."""

    nvec: tuple[int, ...]

    def __str__(self) -> str:
        """As gymnasium prints it."""
        return f"MultiDiscrete([{' '.join(map(str, self.nvec))}])"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one observation or action."""
        return (len(self.nvec),)

    @property
    def sizes(self) -> list[int]:
        """How many values each number may take."""
        return list(self.nvec)

    @property
    def features(self) -> int:
        """Values that a network is given: the codes side by side."""
        return sum(self.nvec)

    outputs = features

    def card(self) -> dict[str, Any]:
        """As the model card holds it."""
        return {"type": "multi_discrete", "nvec": list(self.nvec)}

    def as_box(self) -> Box:
        """How an observation of this space is asked for: whole numbers."""
        return Box(self.shape, "int64", (0.0,) * len(self.nvec), tuple(size - 1.0 for size in self.nvec))


@dataclass(frozen=True)
class MultiBinary:
    """An array of zeros and ones."""

    shape: tuple[int, ...]

    def __str__(self) -> str:
        """As gymnasium prints it."""
        return f"MultiBinary({self.shape[0] if len(self.shape) == 1 else list(self.shape)})"

    @property
    def features(self) -> int:
        """Values that a network is given for one observation."""
        return math.prod(self.shape)

    outputs = features

    def card(self) -> dict[str, Any]:
        """As the model card holds it."""
        return {"type": "multi_binary", "n": math.prod(self.shape), "shape": list(self.shape)}

    def as_box(self) -> Box:
        """How an observation of this space is asked for: zeros and ones."""
        return Box(self.shape, "int8", (0.0,) * self.features, (1.0,) * self.features)


Part = Box | Discrete | MultiDiscrete | MultiBinary


@dataclass(frozen=True)
class Dict:
    """Several spaces, each under its key, in the order in which the library puts their features side by side."""

    parts: tuple[tuple[str, Part], ...]

    def __str__(self) -> str:
        """As gymnasium prints it."""
        return f"Dict({', '.join(f'{key!r}: {part}' for key, part in self.parts)})"

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the parts."""
        return tuple(key for key, _ in self.parts)

    def card(self) -> dict[str, Any]:
        """As the model card holds it."""
        return {"type": "dict", "spaces": [{"key": key, "space": part.as_box().card()} for key, part in self.parts]}


Space = Part | Dict
ActionSpace = Part


def unbounded_box(width: int) -> Box:
    """Return the space of observations of which only the number is known."""
    return Box((width,), "float32", (None,) * width, (None,) * width)


def _printed(bound: tuple[float | None, ...], none: str) -> str:
    words = [none if value is None else f"{value:.8g}" for value in bound]
    if len(set(words)) == 1:
        return words[0]
    shown = words if len(words) <= SHOWN else [*words[: SHOWN // 2], "...", *words[-SHOWN // 2 :]]
    return f"[{' '.join(shown)}]"
