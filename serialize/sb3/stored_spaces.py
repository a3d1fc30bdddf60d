"""Observation and action spaces, read from text into `handlers.spaces`.

    text in the .zip ──read_space──┐
                                   ├─ equal, or BuildError ──▶ Space
    text in the YAML ──parse_space─┘

Stable-Baselines3 stores Gymnasium's text beside its pickles. numpy prints only the corners of a large array. This
module never guesses the numbers between them: another field of the file, the feature extractor or the YAML states
them, or the build stops.
"""

import ast
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from errors import BuildError
from handlers.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from serialize.observation_arrays import read_arrays
from serialize.sb3.policy_spaces import ActionSpace, DictSpace, Part, Space, describe, equal_spaces, unbounded_box
from settings.schema import PolicyModel
from settings.schema.served_model import ObservationBounds

# Gymnasium prints a Dict's entries as 'key': Name(   before 1.0 also as ('key', Name(   and gym 0.21 as key:Name(
ENTRY = re.compile(
    r"[\s,]*(?P<pair>\()?(?P<key>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|(?P<bare>\w+))(?:: ?|, )(?P<name>\w+)\("
)
# low, high, (shape), dtype
BOX = re.compile(r"(?P<bounds>.*), (?P<shape>\([\d, ]*\)), (?P<dtype>\w+)", re.DOTALL)
CALL = re.compile(r"\s*(?P<name>\w+)\((?P<arguments>.*)\)\s*", re.DOTALL)
SUPPORTED = "Box, Discrete, MultiDiscrete, MultiBinary and Dict"
ABBREVIATED = "..."
BOUNDS = "served_model.observation.bounds"
SAVE = "save them with numpy.savez(FILE, low=space.low, high=space.high)"


@dataclass(frozen=True)
class KnownBounds:
    """Bounds that are known apart from a space's own text, by part; a space without parts has the key "".

    `bounds` come from the YAML. `images` are the parts of a NatureCNN, which accepts bytes from 0 to 255 only.
    """

    bounds: Mapping[str, ObservationBounds] = field(default_factory=dict)
    images: frozenset[str] = frozenset()

    def check_form(self, has_parts: bool) -> None:
        """Raise BuildError for bounds by part of a space without parts, and for the reverse."""
        if has_parts and "" in self.bounds:
            raise BuildError(f"{BOUNDS}: the observation has parts; give the bounds of each under its name")
        if not has_parts and (named := sorted(filter(None, self.bounds))):
            raise BuildError(f"{BOUNDS}.{named[0]}: the observation has no parts; give low and high alone")

    def check(self, space: Space) -> None:
        """Raise BuildError for bounds of a part that does not exist or is not a Box."""
        parts = dict(space.parts) if isinstance(space, DictSpace) else {"": space}
        for key in self.bounds:
            if key not in parts:
                raise BuildError(f"{BOUNDS}.{key}: the observation has no such part; it has {', '.join(parts)}")
            if not isinstance(parts[key], Box):
                raise BuildError(f"{BOUNDS}{key and '.'}{key}: {describe(parts[key])} has no bounds to state")


def observation_space(model: PolicyModel, stored: Any = None, images: frozenset[str] = frozenset()) -> Space | None:
    """Return the observation space; None if neither the file nor the YAML states it.

    `stored` is the entry of a .zip, None for a bare policy.pth, and `images` are the parts of a NatureCNN. `fields`
    state a flat space of that many numbers. Raises BuildError for text that cannot be read and for a contradiction.
    """
    known = KnownBounds(_stated_bounds(model), images)
    text = model.policy.observation_space
    stated = None if text is None else parse_space(text, "served_model.policy.observation_space", known)
    if stored is not None:
        return _agreed("observation space", read_space(stored, "observation space", known), stated)
    if stated is None and model.fields is not None:
        return _flat_box(len(model.fields), known)
    return stated


def action_space(model: PolicyModel, stored: Any = None) -> ActionSpace | None:
    """Return the action space; None if neither the file nor the YAML states it.

    `actions` state a Discrete space of that many. Raises BuildError for text that cannot be read, a contradiction, and
    a Dict.
    """
    text = model.policy.action_space
    found = None if text is None else parse_space(text, "served_model.policy.action_space")
    if stored is not None:
        found = _agreed("action space", read_space(stored, "action space"), found)
    elif found is None and model.actions is not None:
        return Discrete(len(model.actions), 0)
    if isinstance(found, DictSpace):
        raise BuildError("the action space is a Dict, which no algorithm of the library takes")
    return found


def read_space(stored: Any, role: str, known: KnownBounds = KnownBounds()) -> Space:
    """Read the space from the JSON that Stable-Baselines3 stored for it; `role` names it in errors.

    Raises BuildError if the readable text is incomplete and only the pickle holds the rest.
    """
    kind = str(stored.get(":type:", "")) if isinstance(stored, dict) else ""
    name = kind.rpartition(".")[2].rstrip("'>")
    known.check_form(name == "Dict")
    try:
        if name == "Dict":
            space: Space = _dict(str(stored["spaces"]), role, known)
        else:
            space = _from_fields(name, stored, role, known, "")
    except (KeyError, TypeError, ValueError, SyntaxError) as error:
        raise BuildError(f"the {role} is stored in a form that only unpickling could read ({error!r})") from None
    known.check(space)
    return space


def parse_space(text: str, role: str, known: KnownBounds = KnownBounds()) -> Space:
    """Read a space from Gymnasium's text, such as Discrete(2) or Box(-1.0, 1.0, (3,), float32).

    Raises BuildError.
    """
    call = CALL.fullmatch(text)
    try:
        if call is None:
            raise ValueError("no name and brackets")
        name, arguments = call["name"], call["arguments"]
        known.check_form(name == "Dict")
        if name == "Dict":
            space: Space = _dict(f"{{{arguments}}}", role, known)
        else:
            space = _from_arguments(name, arguments, role, known, "")
    except (KeyError, TypeError, ValueError, SyntaxError) as error:
        raise BuildError(
            f"{role}: {text[:60]!r} is not read ({error}); write it as print(env.observation_space) shows it, "
            'such as "Discrete(2)", "MultiDiscrete([3 5 2])" or "Box(-1.0, 1.0, (3,), float32)"'
        ) from None
    known.check(space)
    return space


def _flat_box(width: int, known: KnownBounds) -> Box:
    space = unbounded_box(width)
    known.check_form(has_parts=False)
    if (given := known.bounds.get("")) is None:
        return space
    low, high = (_stated(getattr(given, name), name, width, space.dtype) for name in ("low", "high"))
    return _ordered(space.shape, space.dtype, low, high, "observation space")


def _stated_bounds(model: PolicyModel) -> dict[str, ObservationBounds]:
    found = read_arrays(model.observation.bounds, ObservationBounds, BOUNDS, SAVE)
    return {"": found} if isinstance(found, ObservationBounds) else found or {}


def _agreed(name: str, found: Space, stated: Space | None) -> Space:
    if stated is not None and not equal_spaces(found, stated):
        raise BuildError(
            f"its {name} is {describe(found)}, served_model.policy.{name.replace(' ', '_')} is {describe(stated)}; "
            "set that to null, or give the right file"
        )
    return found


def _from_fields(name: str, stored: Mapping[str, Any], role: str, known: KnownBounds, key: str) -> Part:
    match name:
        case "Box":
            return _box(stored, role, known, key)
        case "Discrete":
            # The library's `predict` counts from 0, whatever the start of the space.
            return Discrete(int(stored["n"]), 0)
        case "MultiDiscrete":
            return MultiDiscrete(tuple(int(size) for size in _numbers(stored["nvec"])))
        case "MultiBinary":
            return MultiBinary(_shape(stored))
    raise BuildError(f"the {role} is a {name or 'nameless'} space; {SUPPORTED} are supported")


def _from_arguments(name: str, arguments: str, role: str, known: KnownBounds, key: str) -> Part:
    """Read a space from the text between its brackets."""
    if name == "Box":
        match = BOX.fullmatch(arguments)
        if match is None:
            raise ValueError(f"Box({arguments[:60]})")
        low, high = _low_and_high(match["bounds"])
        return _box({"_shape": match["shape"], "dtype": match["dtype"], "low": low, "high": high}, role, known, key)
    if name == "MultiBinary":
        size = ast.literal_eval(arguments)
        return MultiBinary((size,) if isinstance(size, int) else tuple(size))
    first = arguments.partition(", start=")[0]
    return _from_fields(name, {"n": first, "nvec": first}, role, known, key)


def _dict(text: str, role: str, known: KnownBounds) -> DictSpace:
    """Read a Dict's parts from Gymnasium's text: {'speed': Box(-1.0, 1.0, (3,), float32), 'gear': Discrete(5)}."""
    parts: list[tuple[str, Part]] = []
    rest = text.removeprefix("OrderedDict(").strip()
    opening = rest[:1]
    if opening not in ("{", "["):
        raise ValueError(f"unreadable: {rest[:40]!r}")
    position = 1
    while entry := ENTRY.match(rest, position):
        end = _closing(rest, entry.end())
        key = entry["bare"] or ast.literal_eval(entry["key"])
        parts.append((key, _from_arguments(entry["name"], rest[entry.end() : end], role, known, key)))
        position = end + 1
        if entry["pair"]:
            if rest[position : position + 1] != ")":
                raise ValueError(f"unreadable from {rest[position : position + 40]!r} on")
            position += 1
    closing = {"{": "}", "[": "]"}[opening]
    if not parts or rest[position:].strip(" ,)") != closing or len({key for key, _ in parts}) != len(parts):
        raise ValueError(f"unreadable from {rest[position : position + 40]!r} on")
    return DictSpace(tuple(parts))


def _closing(text: str, start: int, brackets: str = "()") -> int:
    """Return the position of the bracket that closes the one before `start`."""
    depth = 1
    for position in range(start, len(text)):
        depth += (text[position] == brackets[0]) - (text[position] == brackets[1])
        if depth == 0:
            return position
    raise ValueError("a bracket is never closed")


def _low_and_high(text: str) -> tuple[str, str]:
    """Split the text of two bounds, each one number or an array in brackets."""
    text = text.strip()
    end = _closing(text, 1, "[]") + 1 if text.startswith("[") else text.index(",")
    return text[:end], text[end:].lstrip(" ,")


def _box(stored: Mapping[str, Any], role: str, known: KnownBounds, key: str) -> Box:
    shape, dtype = _shape(stored), np.dtype(str(stored["dtype"]))
    if dtype.kind not in "fiu":
        raise ValueError(f"{dtype} is not a number type")
    low, high = (_bound(stored, name, shape, dtype, known.bounds.get(key)) for name in ("low", "high"))
    if dtype == np.uint8 and key in known.images:
        size = math.prod(shape)
        low, high = (np.full(size, float(end)) if bound is None else bound for bound, end in ((low, 0), (high, 255)))
    if low is None or high is None:
        raise BuildError(_how_to_state(stored, math.prod(shape), role, key))
    return _ordered(shape, dtype, low, high, role)


def _ordered(shape: tuple[int, ...], dtype: np.dtype[Any], low: NDArray[Any], high: NDArray[Any], role: str) -> Box:
    if np.any(low > high):
        raise BuildError(f"the {role} has a low above its high")
    if dtype.kind == "f":
        low, high = np.where(np.isfinite(low), low, -np.inf), np.where(np.isfinite(high), high, np.inf)
    return Box(shape, dtype, low.reshape(shape), high.reshape(shape))


def _shape(stored: Mapping[str, Any]) -> tuple[int, ...]:
    # gym before 0.21 stores `shape`, later releases `_shape`.
    text = str(stored["_shape"] if "_shape" in stored else stored["shape"])
    return tuple(int(size) for size in ast.literal_eval(text))


def _bound(
    stored: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: np.dtype[Any], given: ObservationBounds | None
) -> NDArray[Any] | None:
    """Return one bound of a Box, flat; None if the text abbreviates it and nothing else states it."""
    size, text = math.prod(shape), str(stored[name])
    if ABBREVIATED in text and _is_number(alone := str(stored.get(f"{name}_repr"))):
        text = alone  # the same number everywhere
    shown = _numbers(text.replace(ABBREVIATED, " "))
    if ABBREVIATED not in text:
        if len(shown) not in (1, size):
            raise ValueError(f"{len(shown)} numbers for {name} of shape {shape}")
        shown = shown * (size // len(shown))
    if given is None:
        return None if ABBREVIATED in text else _typed(shown, dtype)
    stated = _stated(getattr(given, name), name, size, dtype)
    printed = np.array2string(stated.reshape(shape), threshold=1000, edgeitems=3, separator=" ")
    compared = _numbers(printed.replace(ABBREVIATED, " ")) if ABBREVIATED in text else stated.tolist()
    if len(compared) != len(shown) or not np.allclose(compared, shown, rtol=1e-6, atol=1e-8):
        raise BuildError(
            f"its observations have a {name} of {' '.join(text.split())[:60]}, {BOUNDS} says "
            f"{getattr(given, name)!r:.60}; set the bounds to null, or give the right file"
        )
    return stated


def _stated(value: float | list[float | None] | None, name: str, size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a bound of the YAML as an array; a null becomes infinity, or the last number of an integer type."""
    each = value if isinstance(value, list) else [value] * size
    if len(each) != size:
        raise BuildError(f"{BOUNDS}: {name} has {len(each)} numbers, the observation {size}")
    none = (-math.inf, math.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    found = [none[name == "high"] if number is None else number for number in each]
    if any(math.isnan(number) for number in found):
        raise BuildError(f"{BOUNDS}: {name} holds nan; write null where there is no bound")
    return _typed(found, dtype)


def _typed(values: list[float], dtype: np.dtype[Any]) -> NDArray[Any]:
    # Text holds the shortest digits that give the same number in the space's own type.
    return np.asarray(values, dtype=dtype if dtype.kind == "f" else np.float64)


def _how_to_state(stored: Mapping[str, Any], size: int, role: str, key: str) -> str:
    """Return the error of an abbreviated bound, with what to write into the YAML."""
    shows = f"the {role} has {size} numbers, of whose bounds its text shows only the first and the last"
    if "action" in role:
        return f"{shows}; write all of them into served_model.policy.action_space"
    ends = {name: _numbers(str(stored[name]).replace(ABBREVIATED, " "))[0] for name in ("low", "high")}
    example = ", ".join(f"{name}: {end:g}" if math.isfinite(end) else f"{name}: null" for name, end in ends.items())
    part = f"{key}: {{{example}}}" if key else example
    return (
        f"{shows}{f' of its part {key}' if key else ''}: state them in the model's YAML file, low and high each as one "
        f"number for all, as a list of {size}, or as null for none (the values are only an example): "
        f"observation: {{bounds: {{{part}}}}}; or as bounds: FILE.npz, which holds the arrays "
        f"{key + '.' if key else ''}low and {key + '.' if key else ''}high"
    )


def _numbers(text: Any) -> list[float]:
    numbers = str(text).replace("[", " ").replace("]", " ").replace(",", " ").split()
    if not numbers:
        raise ValueError("no numbers")
    return [float(number) for number in numbers]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
