"""Gymnasium's spaces, read from the text that Stable-Baselines3 stores beside its pickles."""

import ast
import math
import re
from typing import Any

import numpy as np

from errors import BuildError
from serialize.sb3.spaces import ActionSpace, Box, Dict, Discrete, MultiBinary, MultiDiscrete, Part, Space

# What gymnasium prints of a Dict: 'key': Name(
ENTRY = re.compile(r"[\s,]*(?P<key>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"): (?P<name>\w+)\(")
# low, high, (shape), dtype
BOX = re.compile(r"(?P<bounds>.*), (?P<shape>\([\d, ]*\)), (?P<dtype>\w+)", re.DOTALL)


def read_action_space(stored: Any) -> ActionSpace:
    """The space of the actions, which is no Dict. Raises BuildError."""
    space = read_space(stored, "action space")
    if isinstance(space, Dict):
        raise BuildError("the action space is a Dict, which no algorithm of the library takes")
    return space


def read_space(stored: Any, role: str) -> Space:
    """The space from the JSON that Stable-Baselines3 stored for it; `role` names it in errors.

    Raises BuildError when the readable text is not enough and only the pickle would tell.
    """
    kind = str(stored.get(":type:", "")) if isinstance(stored, dict) else ""
    name = kind.rpartition(".")[2].rstrip("'>")
    try:
        if name == "Dict":
            return _dict(str(stored["spaces"]), role)
        return _plain(name, stored, role)
    except (KeyError, ValueError, SyntaxError) as error:
        raise BuildError(f"the {role} is stored in a form that only unpickling could read ({error!r})") from None


def _plain(name: str, stored: dict[str, Any], role: str) -> Part:
    match name:
        case "Box":
            return _box(stored, role)
        case "Discrete":
            return Discrete(int(stored["n"]))
        case "MultiDiscrete":
            return MultiDiscrete(tuple(int(size) for size in _numbers(stored["nvec"], role)))
        case "MultiBinary":
            return MultiBinary(_shape(stored))
    raise BuildError(
        f"the {role} is a {name or 'nameless'} space; Box, Discrete, MultiDiscrete, MultiBinary and Dict are read"
    )


def _dict(text: str, role: str) -> Dict:
    """The parts from gymnasium's own words for them: {'speed': Box(-1.0, 1.0, (3,), float32), 'gear': Discrete(5)}."""
    parts: list[tuple[str, Part]] = []
    rest = text.removeprefix("OrderedDict(").strip()
    position = rest.index("{") + 1
    while entry := ENTRY.match(rest, position):
        end = _closing(rest, entry.end())
        parts.append((ast.literal_eval(entry["key"]), _worded(entry["name"], rest[entry.end() : end], role)))
        position = end + 1
    if not parts or rest[position:].strip(" ,)") != "}" or len({key for key, _ in parts}) != len(parts):
        raise ValueError(f"unreadable from {rest[position : position + 40]!r} on")
    return Dict(tuple(parts))


def _closing(text: str, start: int) -> int:
    """Where the bracket that was opened just before `start` is closed."""
    depth = 1
    for position in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        if depth == 0:
            return position
    raise ValueError("a bracket is never closed")


def _worded(name: str, arguments: str, role: str) -> Part:
    """A space from what stands between the brackets of its own words."""
    if name == "Box":
        match = BOX.fullmatch(arguments)
        if match is None:
            raise ValueError(f"Box({arguments[:60]})")
        shape = tuple(int(size) for size in ast.literal_eval(match["shape"]))
        low, high = _halves(match["bounds"], math.prod(shape))
        return _box({"_shape": str(shape), "dtype": match["dtype"], "low": low, "high": high}, role)
    if name == "MultiBinary":
        size = ast.literal_eval(arguments)
        return MultiBinary((size,) if isinstance(size, int) else tuple(size))
    first = arguments.partition(", start=")[0]
    return _plain(name, {"n": first, "nvec": first}, role)


def _halves(text: str, size: int) -> tuple[str, str]:
    """Low and high: each one number for all, or an array in brackets."""
    if "..." in text:
        raise ValueError("bounds too long to be stored as text")
    words = text.replace("[", " [ ").replace("]", " ] ").replace(",", " ").split()
    groups: list[list[str]] = []
    depth = 0
    for word in words:
        if word == "[":
            groups += [[]] if depth == 0 else []
            depth += 1
        elif word == "]":
            depth -= 1
        elif depth:
            groups[-1].append(word)
        else:
            groups.append([word])
    if len(groups) != 2:
        raise ValueError(f"{len(groups)} bounds")
    each = (group * size if len(group) == 1 else group for group in groups)
    low, high = (" ".join(group) for group in each)
    return low, high


def _box(stored: dict[str, Any], role: str) -> Box:
    shape, dtype = _shape(stored), str(stored["dtype"])
    low, high = (_bounds(stored, key, shape, dtype, role) for key in ("low", "high"))
    return Box(shape, dtype, low, high)


def _shape(stored: dict[str, Any]) -> tuple[int, ...]:
    # `shape` in gym before 0.21, `_shape` since.
    return tuple(
        int(size) for size in ast.literal_eval(str(stored["_shape"] if "_shape" in stored else stored["shape"]))
    )


def _bounds(
    stored: dict[str, Any], key: str, shape: tuple[int, ...], dtype: str, role: str
) -> tuple[float | None, ...]:
    size = math.prod(shape)
    text = str(stored[key])
    if "..." in text:
        # numpy writes only the corners of a large array. A bound that is the same everywhere may also stand alone.
        alone = str(stored.get(f"{key}_repr"))
        if alone == "None" or not _is_number(alone):
            alone = _constant_corners(text, dtype)
        text = " ".join([alone] * size)
    values = _numbers(text, role)
    if len(values) != size:
        raise ValueError(f"{len(values)} numbers for {key} of shape {shape}")
    exact = np.asarray(values, dtype=dtype)  # text has the shortest digits that give the same number in its own type
    return tuple(float(value) if np.isfinite(value) else None for value in exact)


def _constant_corners(text: str, dtype: str) -> str:
    """The bound that all shown corners share, for bytes only: 0..255 pictures are the one case that is certain."""
    shown = set(text.replace("[", " ").replace("]", " ").replace("...", " ").split())
    if dtype == "uint8" and shown in ({"0"}, {"255"}):
        return shown.pop()
    raise ValueError("bounds too long for text; repr(model.observation_space) before model.save() stores them in short")


def _numbers(text: Any, role: str) -> list[float]:
    words = str(text).replace("[", " ").replace("]", " ").replace(",", " ").split()
    if not words:
        raise BuildError(f"the {role} is stored without numbers")
    return [float(word) for word in words]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
