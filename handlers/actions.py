"""A policy's outputs → the actions that the environment's `step` takes.

The action is the likeliest one, as `predict(deterministic=True)` gives it, unless the outputs hold `noise`: then it is
drawn from the policy's distribution with these numbers, so that the same numbers give the same action everywhere.
`action_masks` among the outputs take away what is not allowed.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.batch import Outputs
from handlers.distributions import Distribution
from handlers.spaces import ActionSpace, Box, Discrete, MultiBinary, MultiDiscrete

NOISE, MASKS = "noise", "action_masks"

# The logit of a forbidden action, as sb3_contrib's MaskableCategorical has it.
FORBIDDEN = -1e8


def actions(values: NDArray[Any], space: ActionSpace, distribution: Distribution, more: Outputs) -> list[Any]:
    """Word the network's output [k, ...]; `more` holds `noise` [k, n] and `action_masks` [k, n] where asked for."""
    if MASKS in more:
        values = np.where(more[MASKS], values, np.asarray(FORBIDDEN, values.dtype))
    if distribution.kind == "gaussian":
        return _words(_from_gaussian(values, space, distribution, more.get(NOISE)))
    return _CHOICE[type(space)](values, space, more.get(NOISE), distribution)


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
        chosen = _drawn(logits, noise[:, 0])
    return list((chosen + space.start).tolist())


def _multi_discrete(
    logits: NDArray[Any], space: MultiDiscrete, noise: NDArray[Any] | None, distribution: Distribution
) -> list[Any]:
    del distribution
    choices = np.split(logits, np.cumsum(space.nvec)[:-1], axis=1)
    if noise is None:
        chosen = [choice.argmax(axis=1) for choice in choices]
    else:
        chosen = [_drawn(choice, column) for choice, column in zip(choices, noise.T, strict=True)]
    return list(np.stack(chosen, axis=1).tolist())


def _multi_binary(
    logits: NDArray[Any], space: MultiBinary, noise: NDArray[Any] | None, distribution: Distribution
) -> list[Any]:
    del space, distribution
    chosen = logits > 0 if noise is None else noise < 0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float64)))
    return list(chosen.astype(np.int64).tolist())


def _continuous(action: NDArray[Any], space: Box, noise: NDArray[Any] | None, distribution: Distribution) -> list[Any]:
    del space, noise, distribution
    return _words(action)


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


def _drawn(logits: NDArray[Any], noise: NDArray[np.float64]) -> NDArray[np.int64]:
    """The choice in whose share of 0..1 the number falls, the shares being the softmax of the logits."""
    wide = logits.astype(np.float64)
    sums = np.exp(wide - wide.max(axis=1, keepdims=True)).cumsum(axis=1)
    chosen = (sums <= noise[:, None] * sums[:, -1:]).sum(axis=1)
    # Rounded up, the product may be the whole sum: then it is the last choice that has a share.
    last = (sums < sums[:, -1:]).sum(axis=1)
    return np.asarray(np.minimum(chosen, last))


def _words(action: NDArray[Any]) -> list[Any]:
    # numpy prints a float32 with as many digits as tell it from its neighbours.
    return list(action.astype(np.float32).astype("U32").astype(np.float64).tolist())


_CHOICE: dict[type[Any], Callable[[NDArray[Any], Any, NDArray[Any] | None, Distribution], list[Any]]] = {
    Discrete: _discrete,
    MultiDiscrete: _multi_discrete,
    MultiBinary: _multi_binary,
    Box: _continuous,
}
