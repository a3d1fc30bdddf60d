"""Gymnasium's spaces as the archive stores them, and the distributions that actions can be drawn from."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from handlers.json_object import JsonObject


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
        """Type of the network's input: uint8 for images, which it scales itself, else float32."""
        return np.dtype(np.uint8 if self.is_picture else np.float32)

    @property
    def is_picture(self) -> bool:
        """True for bytes in three dimensions."""
        return self.dtype == np.uint8 and len(self.shape) == 3

    @property
    def is_channels_first(self) -> bool:
        """True where the first dimension counts the channels; Stable-Baselines3 takes the smallest one for that."""
        return int(np.argmin(self.shape)) == 0


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
        """Shape of the network's input for one observation."""
        return (sum(math.prod(part.shape) for _, part in self.parts),)

    @property
    def network_dtype(self) -> np.dtype[Any]:
        """Type of the network's input, which holds a byte of an image exactly."""
        return np.dtype(np.float32)


@dataclass(frozen=True)
class Discrete:
    """One of `n` actions, counted from `start`."""

    n: int
    start: int


@dataclass(frozen=True)
class MultiDiscrete:
    """Several independent choices; `nvec` holds the number of actions of each one."""

    nvec: tuple[int, ...]


@dataclass(frozen=True)
class MultiBinary:
    """Independent switches in an array of `shape`."""

    shape: tuple[int, ...]

    @property
    def n(self) -> int:
        """Return the number of switches."""
        return math.prod(self.shape)


ActionSpace = Box | Discrete | MultiDiscrete | MultiBinary
ObservationSpace = Box | Dict

DistributionKind = Literal["categorical", "bernoulli", "gaussian", "epsilon_greedy", "none"]

_FITTING: dict[DistributionKind, tuple[type[Any], ...]] = {
    "categorical": (Discrete, MultiDiscrete),
    "bernoulli": (MultiBinary,),
    "gaussian": (Box,),
    "epsilon_greedy": (Discrete,),
    "none": (Box, Discrete, MultiBinary, MultiDiscrete),
}


@dataclass(frozen=True)
class Distribution:
    """The distribution of a policy's actions.

    categorical     one choice, or several independent ones, by their logits
    bernoulli       independent switches by their logits
    gaussian        the network gives mean and logarithm of the spread; with `squash` tanh maps a sample onto the space,
                    without, it is clipped to the space
    epsilon_greedy  with the probability `rate` any action, else the best
    none            actions are deterministic only; `reason` explains it

    `masks`: a request may restrict the allowed actions.
    """

    kind: DistributionKind
    squash: bool = False
    rate: float = 0.0
    reason: str = ""
    masks: bool = False


def box(stored: JsonObject) -> Box:
    """Read a Box: `shape`, `dtype`, `low`, `high`; a bound is one number for all or nested lists, null for none.

    Raises ValueError.
    """
    stored.choice("type", ("box",))
    shape = stored.integers("shape", 1)
    try:
        dtype = np.dtype(stored.text("dtype"))
    except TypeError:
        raise stored.error("dtype", "is not a numpy type") from None
    if dtype.kind not in "fiu":
        raise stored.error("dtype", "must be a floating or integer type")
    low, high = _bound(stored, "low", shape, dtype), _bound(stored, "high", shape, dtype)
    if np.any(low > high):
        raise stored.error("low", "is above high")
    return Box(shape, dtype, low, high)


def observation_space(stored: JsonObject) -> ObservationSpace:
    """Read the space of the observations: a box, or a dict of boxes in the order of its list; raises ValueError."""
    if stored.choice("type", ("box", "dict")) == "box":
        return box(stored)
    parts = tuple((part.text("key"), box(part.object("space"))) for part in stored.objects("spaces"))
    if len({key for key, _ in parts}) != len(parts):
        raise stored.error("spaces", "names one key twice")
    return Dict(parts)


def action_space(stored: JsonObject) -> ActionSpace:
    """Read the space of the actions by its `type`; raises ValueError."""
    return _ACTION_SPACES[stored.choice("type", tuple(_ACTION_SPACES))](stored)


def action_distribution(action: JsonObject, space: ActionSpace) -> Distribution:
    """Read `distribution` of a card's action, which archives of the first releases lack; raises ValueError."""
    if not action.has("distribution"):
        return Distribution("none", reason="its archive was built by a version of Marina that could not")
    stored = action.object("distribution")
    kind = cast("DistributionKind", stored.choice("type", tuple(_FITTING)))
    if not isinstance(space, _FITTING[kind]):
        raise stored.error("type", f"is {kind}, which does not fit the action space")
    if kind == "none":
        return Distribution(kind, reason=stored.text("reason"))
    rate = stored.number("rate", 0, 1) if kind == "epsilon_greedy" else 0.0
    squash, masks = stored.boolean("squash"), stored.boolean("masks")
    if masks and kind != "categorical":
        raise stored.error("masks", "need a categorical distribution")
    return Distribution(kind, squash, rate, masks=masks)


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


def _bound(stored: JsonObject, key: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    try:
        # numpy reads a null as nan, which no bound can be otherwise.
        given = np.array(stored.get(key), dtype=np.float64)
        bound = np.broadcast_to(given, shape)
    except (ValueError, TypeError):
        raise stored.error(key, f"must be a number, null, or such of shape {list(shape)}") from None
    if dtype.kind == "f":
        none = -math.inf if key == "low" else math.inf
        return np.where(np.isnan(bound), none, bound).astype(dtype)
    limits = np.iinfo(dtype)
    return np.where(np.isnan(bound), float(limits.min if key == "low" else limits.max), bound)


_ACTION_SPACES: dict[str, Callable[[JsonObject], ActionSpace]] = {
    "discrete": lambda stored: Discrete(stored.integer("n", 1), int(stored.values.get("start", 0))),
    "multi_discrete": lambda stored: MultiDiscrete(stored.integers("nvec", 1)),
    "multi_binary": lambda stored: MultiBinary((stored.integer("n", 1),)),
    "box": box,
}
