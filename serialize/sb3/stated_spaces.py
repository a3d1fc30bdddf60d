"""The spaces of a policy: what the checkpoint stores, and what the YAML states. Where both say it, they must agree."""

from typing import Any

import numpy as np

from errors import BuildError
from serialize.observation_arrays import read_figures
from serialize.sb3.spaces import ActionSpace, Box, Dict, Discrete, Space
from serialize.sb3.stored_spaces import BOUNDS, Beside, flat_box, parse_space, read_space
from settings.schema import PolicyModel
from settings.schema.served_model import ObservationBounds

SAVE = "save them with numpy.savez(FILE, low=space.low, high=space.high)"


def stated_observation(model: PolicyModel, stored: Any = None, pictures: frozenset[str] = frozenset()) -> Space | None:
    """Return the space of the observations; None where neither the file nor the YAML says it.

    `stored` is what a .zip holds of it, None for a bare policy.pth, and `pictures` are the parts that a NatureCNN sees.
    `fields` state a flat space of so many numbers. Raises BuildError for what cannot be read or does not agree.
    """
    beside = Beside(_bounds(model), pictures)
    text = model.policy.observation_space
    stated = None if text is None else parse_space(text, "served_model.policy.observation_space", beside)
    if stored is not None:
        return _agreed("observation space", read_space(stored, "observation space", beside), stated)
    if stated is None and model.fields is not None:
        return flat_box(len(model.fields), beside)
    return stated


def stated_action(model: PolicyModel, stored: Any = None) -> ActionSpace | None:
    """Return the space of the actions; None where neither the file nor the YAML says it.

    `actions` state a Discrete space of so many. Raises BuildError for what cannot be read or does not agree.
    """
    text = model.policy.action_space
    found = None if text is None else parse_space(text, "served_model.policy.action_space")
    if stored is not None:
        found = _agreed("action space", read_space(stored, "action space"), found)
    elif found is None and model.actions is not None:
        return Discrete(len(model.actions))
    if isinstance(found, Dict):
        raise BuildError("the action space is a Dict, which no algorithm of the library takes")
    return found


def _bounds(model: PolicyModel) -> dict[str, ObservationBounds]:
    """The bounds that the YAML states, by part; those of a space without parts under no name."""
    found = read_figures(model.observation.bounds, ObservationBounds, BOUNDS, SAVE)
    return {"": found} if isinstance(found, ObservationBounds) else found or {}


def _agreed(name: str, found: Space, stated: Space | None) -> Space:
    if stated is not None and not _same(found, stated):
        raise BuildError(
            f"its {name} is {found}, served_model.policy.{name.replace(' ', '_')} is {stated}; "
            "set that to null, or give the right file"
        )
    return found


def _same(one: Space, other: Space) -> bool:
    """Whether two spaces are the same but for the digits that text leaves out of a bound."""
    if isinstance(one, Dict) and isinstance(other, Dict):
        pairs = zip(one.parts, other.parts, strict=False)
        return len(one.parts) == len(other.parts) and all(a[0] == b[0] and _same(a[1], b[1]) for a, b in pairs)
    if isinstance(one, Box) and isinstance(other, Box):
        alike = (one.shape, one.dtype) == (other.shape, other.dtype)
        return alike and _close(one.low, other.low) and _close(one.high, other.high)
    return one == other


def _close(one: tuple[float | None, ...], other: tuple[float | None, ...]) -> bool:
    # A None becomes nan.
    pair = (np.array(one, dtype=np.float64), np.array(other, dtype=np.float64))
    return bool(np.allclose(*pair, rtol=1e-6, atol=1e-8, equal_nan=True))
