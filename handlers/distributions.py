"""What a policy draws its actions from when it is asked not to take the likeliest one."""

from dataclasses import dataclass
from typing import Any, Literal, cast

from handlers.section import Section
from handlers.spaces import ActionSpace, Box, Discrete, MultiBinary, MultiDiscrete

Kind = Literal["categorical", "bernoulli", "gaussian", "epsilon_greedy", "none"]
KINDS: tuple[Kind, ...] = ("categorical", "bernoulli", "gaussian", "epsilon_greedy", "none")

_FITTING: dict[Kind, tuple[type[Any], ...]] = {
    "categorical": (Discrete, MultiDiscrete),
    "bernoulli": (MultiBinary,),
    "gaussian": (Box,),
    "epsilon_greedy": (Discrete,),
    "none": (Box, Discrete, MultiBinary, MultiDiscrete),
}


@dataclass(frozen=True)
class Distribution:
    """One of the library's distributions.

    categorical     one choice, or several independent ones, by their logits
    bernoulli       independent switches by their logits
    gaussian        the network gives mean and logarithm of the spread; with `squash` tanh maps a draw onto the space,
                    without, it is clipped to the space
    epsilon_greedy  with the chance `rate` any action, else the best
    none            there is nothing to draw from; `reason` says why

    `masks`: a request may say which actions are allowed.
    """

    kind: Kind
    squash: bool = False
    rate: float = 0.0
    reason: str = ""
    masks: bool = False


def read(action: Section, space: ActionSpace) -> Distribution:
    """Read `distribution` of a card's action. An archive from before there was one has none. Raises ValueError."""
    if action.values.get("distribution") is None:
        return Distribution("none", reason="its archive was built by a version of the kit that could not")
    section = action.section("distribution")
    kind = cast("Kind", section.choice("type", KINDS))
    if not isinstance(space, _FITTING[kind]):
        raise section.fault("type", f"is {kind}, which does not fit the action space")
    if kind == "none":
        return Distribution(kind, reason=section.text("reason"))
    rate = section.number("rate", 0, 1) if kind == "epsilon_greedy" else 0.0
    squash, masks = section.values.get("squash", False), section.values.get("masks", False)
    if not isinstance(squash, bool) or not isinstance(masks, bool):
        raise section.fault("squash", "and masks must be true or false")
    if masks and kind != "categorical":
        raise section.fault("masks", "need a categorical distribution")
    return Distribution(kind, squash, rate, masks=masks)
