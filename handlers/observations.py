"""A request to a policy → observations: named fields or arrays, one or many, inside the observation space."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers import arrays, rows
from handlers.card import Observation
from handlers.errors import HandlerError, InvalidFields


def read(payload: Any, observation: Observation) -> NDArray[Any]:
    """Return the observations of one request: [k, *shape], of the network's input type.

    `payload` is parsed JSON: an object of named fields, an array (one observation, or many with one dimension more),
    or {"instances": [...]} of either. Raises InvalidFields, which names what is missing, unknown or out of range.
    """
    if isinstance(payload, dict) and "instances" in payload:
        values = _instances(rows.instances(payload), observation)
    elif isinstance(payload, dict):
        values = _one(payload, observation)[None]
    elif isinstance(payload, list):
        values = _array(payload, observation)
    else:
        raise InvalidFields("an observation must be an array or an object of named fields")
    return _into_space(values, observation)


def _instances(items: list[Any], observation: Observation) -> NDArray[np.float64]:
    if all(type(item) is list for item in items):
        try:
            return _shaped(arrays.read(items, len(observation.space.shape) + 1), observation)
        except InvalidFields:
            pass  # read again, one by one, to name the instance
    found = []
    for index, item in enumerate(items):
        try:
            found.append(_one(item, observation))
        except HandlerError as error:
            raise error.within(f"instances[{index}]") from None
    return np.stack(found)


def _one(item: Any, observation: Observation) -> NDArray[np.float64]:
    if isinstance(item, dict):
        return _named(item, observation)
    if not isinstance(item, list):
        raise InvalidFields("an observation must be an array or an object of named fields")
    values: NDArray[np.float64] = _shaped(arrays.read(item, len(observation.space.shape))[None], observation)[0]
    return values


def _named(item: dict[str, Any], observation: Observation) -> NDArray[np.float64]:
    fields = observation.fields
    if fields is None:
        raise InvalidFields("this policy has no named fields; send an array")
    if missing := [field for field in fields if field not in item]:
        raise InvalidFields(f"missing field: {', '.join(missing)}")
    if unknown := set(item) - set(fields):
        raise InvalidFields(f"unknown field: {rows.names(unknown)}; the fields are {', '.join(fields)}")
    try:
        return arrays.read([item[field] for field in fields], 1)
    except InvalidFields:
        raise InvalidFields(_not_a_number(item, fields)) from None


def _not_a_number(item: dict[str, Any], fields: tuple[str, ...]) -> str:
    for field in fields:
        try:
            arrays.read([item[field]], 1)
        except InvalidFields as error:
            return f"{field}: {error.detail}"
    return "the fields are not numbers"


def _array(payload: list[Any], observation: Observation) -> NDArray[np.float64]:
    dimensions = len(observation.space.shape)
    values = arrays.read(payload, dimensions + 1)
    return _shaped(values[None] if values.ndim == dimensions else values, observation)


def _shaped(values: NDArray[np.float64], observation: Observation) -> NDArray[np.float64]:
    if values.shape[1:] != observation.space.shape or len(values) == 0:
        shape = list(observation.space.shape)
        raise InvalidFields(f"an observation has shape {shape}, many have [N, {', '.join(map(str, shape))}]")
    return values


def _into_space(values: NDArray[np.float64], observation: Observation) -> NDArray[Any]:
    """Reject or clip what lies outside; floats are compared in the space's own type, in which its bounds are kept."""
    space = observation.space
    if space.dtype.kind == "f":
        with np.errstate(over="ignore"):  # too large for the type becomes infinite and is caught below
            typed = values.astype(space.dtype)
    elif np.any(values % 1):
        raise InvalidFields("the observation must hold whole numbers")
    else:
        typed = values
    if observation.out_of_range == "clip":
        typed = np.clip(typed, space.low, space.high)
    fine = (typed >= space.low) & (typed <= space.high) & np.isfinite(typed)
    if not fine.all():
        raise InvalidFields(_outside(values, fine, observation))
    return typed.astype(space.network_dtype)


def _outside(values: NDArray[np.float64], fine: NDArray[np.bool_], observation: Observation) -> str:
    place = tuple(int(axis) for axis in np.argwhere(~fine)[0])
    instance, inner = place[0], place[1:]
    low, high = observation.space.low[inner], observation.space.high[inner]
    name = observation.fields[inner[0]] if observation.fields else f"observation{list(inner)}"
    at = f"instances[{instance}]: " if len(values) > 1 else ""
    return f"{at}{name} is {values[place]:.6g}, outside of {low:.6g} to {high:.6g}"
