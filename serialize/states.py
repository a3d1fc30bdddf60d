"""Observations that the golden answers ask, of any space, and what the framework makes of such a request."""

import base64
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from serialize.sample_requests import SampleRequest
from settings.schema import PolicyModel

REACH = 1.0  # how far from zero a number goes whose space has no bound
HUGE = 1e6  # a bound beyond this one is none: CartPole's velocities may reach 3.4e38
BATCH = 5  # observations in the request that holds many


def state_requests(model: PolicyModel, space: dict[str, Any]) -> list[SampleRequest]:
    """Observations inside `space`, a card's: by name where fields have names, as arrays, and many in one."""
    states = list(observations(space, 3 + BATCH))
    bodies: list[Any] = list(states[:3])
    if _has_picture(space):
        # As bytes, because lists of a picture's numbers would make most of an archive.
        states = [_with_bytes(state, space) for state in states]
        bodies = [{"observation": state} for state in states[1:3]]
    if space["type"] == "dict":
        # An object of exactly the parts is an observation, whatever they are called; "instances" alone is many.
        bodies = [{"observation": state} if state.keys() == {"instances"} else state for state in states[:3]]
    elif model.fields is not None:
        bodies[0] = dict(zip(model.fields, states[0], strict=True))
    return [_json(body) for body in (*bodies, {"instances": states[3:]})]


def state_inputs(
    request: SampleRequest, model: PolicyModel, space: dict[str, Any], example: torch.Tensor
) -> torch.Tensor:
    """The network's input for a request that `state_requests` made: [k, *shape]."""
    body: Any = json.loads(request.body)
    parts = {part["key"] for part in space["spaces"]} if space["type"] == "dict" else set()
    if not isinstance(body, dict) or (body.keys() == parts and parts != {"instances"}):
        states = [body]
    elif model.fields is not None and body.keys() == set(model.fields):
        states = [[body[field] for field in model.fields]]
    else:
        states = body["instances"] if "instances" in body else [body["observation"]]
    flat = [_flat(state, space) for state in states]
    return torch.from_numpy(np.stack(flat)).to(example.dtype).reshape(-1, *example.shape[1:])


def observations(space: dict[str, Any], count: int) -> Iterator[Any]:
    """`count` nested lists inside a box, or objects of such, spread evenly between their bounds."""
    if space["type"] == "dict":
        parts = [list(observations(part["space"], count)) for part in space["spaces"]]
        for together in zip(*parts, strict=True):
            yield dict(zip((part["key"] for part in space["spaces"]), together, strict=True))
        return
    shape: list[int] = space["shape"]
    lows, highs = (_bound(space[key], shape) for key in ("low", "high"))
    whole = not str(space["dtype"]).startswith("float")
    for number in range(count):
        # Multiples of the golden ratio fill 0..1 evenly, in any order of the axes.
        shares = ((np.arange(lows.size) * count + number + 1) * 0.6180339887) % 1.0
        values = [_between(*ends, whole) for ends in zip(lows.tolist(), highs.tolist(), shares.tolist(), strict=True)]
        yield np.array(values).reshape(shape).tolist()


def _bound(given: Any, shape: list[int]) -> NDArray[np.float64]:
    # A card writes an absent bound as null, which numpy reads as nan.
    return np.broadcast_to(np.array(given, dtype=float), shape).reshape(-1)


def _between(low: float, high: float, share: float, whole: bool) -> float:
    low = low if math.isfinite(low) and abs(low) < HUGE else min(-REACH, high - 2 * REACH if high < 0 else -REACH)
    high = high if math.isfinite(high) and abs(high) < HUGE else max(REACH, low + 2 * REACH)
    if whole:
        return int(low + share * (high - low + 1))
    return round(low + (0.05 + 0.9 * share) * (high - low), 4)


def _is_picture(space: dict[str, Any]) -> bool:
    return space["type"] == "box" and space["dtype"] == "uint8" and len(space["shape"]) == 3


def _has_picture(space: dict[str, Any]) -> bool:
    if space["type"] == "dict":
        return any(_is_picture(part["space"]) for part in space["spaces"])
    return _is_picture(space)


def _with_bytes(state: Any, space: dict[str, Any]) -> Any:
    if space["type"] == "dict":
        return {part["key"]: _with_bytes(state[part["key"]], part["space"]) for part in space["spaces"]}
    if not _is_picture(space):
        return state
    return {"b64": base64.b64encode(np.array(state, dtype=np.uint8).tobytes()).decode("ascii")}


def _flat(state: Any, space: dict[str, Any]) -> NDArray[Any]:
    if space["type"] == "dict":
        return np.concatenate([_flat(state[part["key"]], part["space"]) for part in space["spaces"]])
    if isinstance(state, dict):
        return np.frombuffer(base64.b64decode(state["b64"]), np.uint8).astype(np.float32)
    return np.array(state, dtype=np.float32).ravel()


def _json(value: Any) -> SampleRequest:
    return SampleRequest("application/json", json.dumps(value, separators=(",", ":")).encode())
