"""Gymnasium's spaces as the archive carries them: what a policy may see and do."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.section import Section


@dataclass(frozen=True, eq=False)
class Box:
    """Numbers of one shape, each between its `low` and `high`, both included; infinite where unbounded.

    The bounds are arrays of `shape`: of the space's own dtype where that is a floating one, else float64.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    low: NDArray[Any]
    high: NDArray[Any]

    @property
    def network_dtype(self) -> np.dtype[Any]:
        """Type of the network's input: uint8 for pictures, which it scales itself, else float32."""
        return np.dtype(np.uint8 if self.is_picture else np.float32)

    @property
    def is_picture(self) -> bool:
        """Whether it holds bytes in three dimensions."""
        return self.dtype == np.uint8 and len(self.shape) == 3


@dataclass(frozen=True)
class Dict:
    """Observations of several parts, each a box under a key; the network takes them flat, one after the other."""

    parts: tuple[tuple[str, Box], ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the parts, in the network's order."""
        return tuple(key for key, _ in self.parts)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what the network takes for one observation."""
        return (sum(math.prod(part.shape) for _, part in self.parts),)

    @property
    def network_dtype(self) -> np.dtype[Any]:
        """Type of the network's input, which holds a byte of a picture exactly."""
        return np.dtype(np.float32)


@dataclass(frozen=True)
class Discrete:
    """One of `n` actions, counted from `start`."""

    n: int
    start: int


@dataclass(frozen=True)
class MultiDiscrete:
    """Several independent choices; `nvec` says among how many actions each one is."""

    nvec: tuple[int, ...]


@dataclass(frozen=True)
class MultiBinary:
    """`n` independent switches."""

    n: int


ActionSpace = Box | Discrete | MultiDiscrete | MultiBinary
ObservationSpace = Box | Dict


def box(section: Section) -> Box:
    """Read a Box: `shape`, `dtype`, `low`, `high`; a bound is one number for all or nested lists, null for none.

    Raises ValueError.
    """
    section.choice("type", ("box",))
    shape = section.integers("shape", 1)
    try:
        dtype = np.dtype(section.text("dtype"))
    except TypeError:
        raise section.fault("dtype", "is no type of numpy") from None
    if dtype.kind not in "fiu":
        raise section.fault("dtype", "must be a floating or integer type")
    low, high = _bound(section, "low", shape, dtype), _bound(section, "high", shape, dtype)
    if np.any(low > high):
        raise section.fault("low", "is above high")
    return Box(shape, dtype, low, high)


def observation_space(section: Section) -> ObservationSpace:
    """Read the space of the observations: a box, or a dict of boxes in the order of its list; raises ValueError."""
    if section.choice("type", ("box", "dict")) == "box":
        return box(section)
    parts = tuple((part.text("key"), box(part.section("space"))) for part in section.sections("spaces"))
    if len({key for key, _ in parts}) != len(parts):
        raise section.fault("spaces", "names one key twice")
    return Dict(parts)


def action_space(section: Section) -> ActionSpace:
    """Read the space of the actions by its `type`; raises ValueError."""
    return _ACTION_SPACES[section.choice("type", tuple(_ACTION_SPACES))](section)


def network_output(space: ActionSpace, *, gaussian: bool = False) -> tuple[str, tuple[int, ...]]:
    """Return the name of the network's output for a space of actions, and its shape for one observation.

    A `gaussian` gives mean and logarithm of the spread instead of an action.
    """
    match space:
        case Box() if gaussian:
            return "gaussian", (2, *space.shape)
        case Box():
            return "action", space.shape
        case MultiDiscrete():
            return "logits", (sum(space.nvec),)
        case Discrete() | MultiBinary():
            return "logits", (space.n,)


def _bound(section: Section, key: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    try:
        # numpy reads a null as nan, which no bound can be otherwise.
        given = np.array(section.get(key), dtype=np.float64)
        bound = np.broadcast_to(given, shape)
    except (ValueError, TypeError):
        raise section.fault(key, f"must be a number, null, or such of shape {list(shape)}") from None
    if dtype.kind == "f":
        none = -math.inf if key == "low" else math.inf
        return np.where(np.isnan(bound), none, bound).astype(dtype)
    limits = np.iinfo(dtype)
    return np.where(np.isnan(bound), float(limits.min if key == "low" else limits.max), bound)


_ACTION_SPACES: dict[str, Callable[[Section], ActionSpace]] = {
    "discrete": lambda section: Discrete(section.integer("n", 1), int(section.values.get("start", 0))),
    "multi_discrete": lambda section: MultiDiscrete(section.integers("nvec", 1)),
    "multi_binary": lambda section: MultiBinary(section.integer("n", 1)),
    "box": box,
}
