"""What a request asks of a policy beside its observations: `deterministic`, `seed` and `action_masks`.

    {"instances": [...], "deterministic": false, "seed": 7}  →  {"noise": [k, n]}
    {"observation": ..., "action_masks": [true, false]}      →  {"action_masks": [1, n]}

Both travel with the network's outputs to where the actions are chosen. The noise of an instance depends on the seed and
on its place in the request alone: not on who else is in the batch, nor on the machine.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.actions import MASKS, NOISE
from handlers.batch import Outputs
from handlers.distributions import Distribution
from handlers.errors import InvalidFields
from handlers.spaces import ActionSpace, Box, Discrete, MultiBinary, MultiDiscrete

OPTIONS = frozenset({"deterministic", "seed", MASKS})
LARGEST_SEED = 2**63 - 1


def read(options: dict[str, Any], count: int, space: ActionSpace, distribution: Distribution) -> Outputs:
    """Return noise and masks for `count` instances; nothing where neither is asked for. Raises InvalidFields."""
    found: dict[str, NDArray[Any]] = {}
    if MASKS in options:
        found[MASKS] = _masks(options[MASKS], count, space, distribution)
    deterministic = options.get("deterministic", True)
    if not isinstance(deterministic, bool):
        raise InvalidFields("deterministic must be true or false")
    seed = _seed(options.get("seed"))
    if not deterministic:
        found[NOISE] = _noise(seed, count, space, distribution)
    elif seed is not None:
        raise InvalidFields("a seed is for deterministic: false")
    return found


def _seed(given: Any) -> int | None:
    if given is None:
        return None
    if type(given) is not int or not 0 <= given <= LARGEST_SEED:
        raise InvalidFields(f"seed must be a whole number from 0 to {LARGEST_SEED}")
    return given


def _noise(seed: int | None, count: int, space: ActionSpace, distribution: Distribution) -> NDArray[np.float64]:
    generator = np.random.Generator(np.random.PCG64(seed))
    match distribution.kind:
        case "none":
            raise InvalidFields(f"this policy gives deterministic actions only: {distribution.reason}")
        case "gaussian":
            assert isinstance(space, Box)
            return generator.standard_normal((count, math.prod(space.shape)))
        case "epsilon_greedy":
            return generator.random((count, 2))
    match space:
        case MultiDiscrete(nvec=nvec):
            return generator.random((count, len(nvec)))
        case MultiBinary(n=n):
            return generator.random((count, n))
        case _:
            return generator.random((count, 1))


def _masks(given: Any, count: int, space: ActionSpace, distribution: Distribution) -> NDArray[np.bool_]:
    if not distribution.masks:
        raise InvalidFields("this policy takes no action_masks; those of MaskablePPO do")
    choices = _choices(space)
    width = sum(choices)
    listed = given if isinstance(given, list) and given and isinstance(given[0], list) else [given]
    words = f"action_masks must hold {width} of true and false for each of {count} observations"
    if len(listed) != count or any(not isinstance(mask, list) or len(mask) != width for mask in listed):
        raise InvalidFields(words)
    # 0 and 1 are what `env.action_masks().astype(int)` holds; 1.0 and "1" are mistakes.
    if any(type(value) not in (bool, int) or value not in (0, 1) for mask in listed for value in mask):
        raise InvalidFields(words)
    masks = np.array(listed, dtype=bool)
    for choice in np.split(masks, np.cumsum(choices)[:-1], axis=1):
        if not choice.any(axis=1).all():
            index = int(np.argmin(choice.any(axis=1)))
            raise InvalidFields(f"action_masks allow no action at all for observation {index}")
    return masks


def _choices(space: ActionSpace) -> tuple[int, ...]:
    match space:
        case Discrete(n=n):
            return (n,)
        case MultiDiscrete(nvec=nvec):
            return nvec
        case _:
            raise InvalidFields("action_masks are for discrete actions")
