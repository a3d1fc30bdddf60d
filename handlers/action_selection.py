"""A policy's outputs → actions, and the options of a request that change the choice.

    {"instances": [...], "deterministic": false, "seed": 7}  →  {"noise": [k, n]}
    {"observation": ..., "action_masks": [true, false]}      →  {"action_masks": [1, n]}

`select_actions` receives noise and masks together with the network's outputs. Without noise it selects the likeliest
action, as Stable-Baselines3's `predict(deterministic=True)` does. With noise it samples from the policy's distribution,
so that the same numbers give the same action everywhere. The noise of an instance depends only on the seed and on its
index in the request, not on the machine or on other requests of the batch.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.batch import Outputs
from handlers.errors import InvalidFields
from handlers.outputs.numbers import shortest_decimals
from handlers.spaces import ActionSpace, Box, Discrete, Distribution, MultiBinary, MultiDiscrete

NOISE, MASKS = "noise", "action_masks"
OPTIONS = frozenset({"deterministic", "seed", MASKS})
LARGEST_SEED = 2**63 - 1

# The logit of a forbidden action, as in sb3_contrib's MaskableCategorical.
FORBIDDEN = -1e8


def read_options(options: dict[str, Any], count: int, space: ActionSpace, distribution: Distribution) -> Outputs:
    """Return noise and masks for `count` instances, as far as the request sets them; raises InvalidFields."""
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


def select_actions(values: NDArray[Any], space: ActionSpace, distribution: Distribution, extra: Outputs) -> list[Any]:
    """Return an action for each row of the network's output [k, ...].

    `extra` holds `noise` [k, n] and `action_masks` [k, n] where the request sets them.
    """
    if MASKS in extra:
        values = np.where(extra[MASKS], values, np.asarray(FORBIDDEN, values.dtype))
    if distribution.kind == "gaussian":
        return shortest_decimals(_from_gaussian(values, space, distribution, extra.get(NOISE)))
    return _SELECT[type(space)](values, space, extra.get(NOISE), distribution)


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
        raise InvalidFields("this policy accepts no action_masks; policies of MaskablePPO do")
    choices = _choices(space)
    width = sum(choices)
    listed = given if isinstance(given, list) and given and isinstance(given[0], list) else [given]
    problem = f"action_masks must hold {width} of true and false for each of {count} observations"
    if len(listed) != count or any(not isinstance(mask, list) or len(mask) != width for mask in listed):
        raise InvalidFields(problem)
    # `env.action_masks().astype(int)` holds 0 and 1; 1.0 and "1" are mistakes.
    if any(type(value) not in (bool, int) or value not in (0, 1) for mask in listed for value in mask):
        raise InvalidFields(problem)
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


def _discrete(
    logits: NDArray[Any], space: Discrete, noise: NDArray[Any] | None, distribution: Distribution
) -> list[Any]:
    best = logits.argmax(axis=1)
    if noise is None:
        chosen = best
    elif distribution.kind == "epsilon_greedy":
        anything = np.minimum(noise[:, 1] * space.n, space.n - 1).astype(np.int64)
        chosen = np.where(noise[:, 0] < distribution.rate, anything, best)
    else:
        chosen = _sampled(logits, noise[:, 0])
    return list((chosen + space.start).tolist())


def _multi_discrete(
    logits: NDArray[Any], space: MultiDiscrete, noise: NDArray[Any] | None, distribution: Distribution
) -> list[Any]:
    del distribution
    choices = np.split(logits, np.cumsum(space.nvec)[:-1], axis=1)
    if noise is None:
        chosen = [choice.argmax(axis=1) for choice in choices]
    else:
        chosen = [_sampled(choice, column) for choice, column in zip(choices, noise.T, strict=True)]
    return list(np.stack(chosen, axis=1).tolist())


def _multi_binary(
    logits: NDArray[Any], space: MultiBinary, noise: NDArray[Any] | None, distribution: Distribution
) -> list[Any]:
    del space, distribution
    chosen = logits > 0 if noise is None else noise < 0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float64)))
    return list(chosen.astype(np.int64).tolist())


def _continuous(action: NDArray[Any], space: Box, noise: NDArray[Any] | None, distribution: Distribution) -> list[Any]:
    del space, noise, distribution
    return shortest_decimals(action)


def _from_gaussian(
    values: NDArray[Any], space: ActionSpace, distribution: Distribution, noise: NDArray[Any] | None
) -> NDArray[Any]:
    assert isinstance(space, Box)
    mean, log_spread = values[:, 0], values[:, 1]
    if noise is not None:
        mean = mean + np.exp(log_spread) * noise.reshape(mean.shape).astype(values.dtype)
    if not distribution.squash:
        return np.asarray(np.clip(mean, space.low, space.high))
    return np.asarray(space.low + 0.5 * (np.tanh(mean) + 1.0) * (space.high - space.low))


def _sampled(logits: NDArray[Any], noise: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the choice for each number in 0..1; a choice's share of that interval is the softmax of its logit."""
    wide = logits.astype(np.float64)
    sums = np.exp(wide - wide.max(axis=1, keepdims=True)).cumsum(axis=1)
    chosen = (sums <= noise[:, None] * sums[:, -1:]).sum(axis=1)
    # Rounding may make the product equal the whole sum; the last choice with a share is then taken.
    last = (sums < sums[:, -1:]).sum(axis=1)
    return np.asarray(np.minimum(chosen, last))


_SELECT: dict[type[Any], Callable[[NDArray[Any], Any, NDArray[Any] | None, Distribution], list[Any]]] = {
    Discrete: _discrete,
    MultiDiscrete: _multi_discrete,
    MultiBinary: _multi_binary,
    Box: _continuous,
}
