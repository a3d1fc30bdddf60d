"""Gymnasium's spaces, read from text: what Stable-Baselines3 stores beside its pickles, or what a user copied.

numpy shows only the corners of a large array. The numbers between them are never guessed: another field of the file,
the feature extractor, or the YAML says them, or the build stops.
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
from serialize.sb3.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Part, Space, unbounded_box
from settings.schema.served_model import ObservationBounds

# What gymnasium prints of a Dict: 'key': Name(   before 1.0 also ('key', Name(   in a list of pairs; gym 0.21 key:Name(
ENTRY = re.compile(
    r"[\s,]*(?P<pair>\()?(?P<key>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|(?P<bare>\w+))(?:: ?|, )(?P<name>\w+)\("
)
# low, high, (shape), dtype
BOX = re.compile(r"(?P<bounds>.*), (?P<shape>\([\d, ]*\)), (?P<dtype>\w+)", re.DOTALL)
WORDS = re.compile(r"\s*(?P<name>\w+)\((?P<arguments>.*)\)\s*", re.DOTALL)
FORMS = "Box, Discrete, MultiDiscrete, MultiBinary and Dict"
ABBREVIATED = "..."
BOUNDS = "served_model.observation.bounds"


@dataclass(frozen=True)
class Beside:
    """What is known of bounds beside a space's own text, by part; "" is a space that is no Dict.

    `bounds` are the YAML's; `pictures` are the parts that a NatureCNN sees, which takes bytes from 0 to 255 alone.
    """

    bounds: Mapping[str, ObservationBounds] = field(default_factory=dict)
    pictures: frozenset[str] = frozenset()

    def check_form(self, of_parts: bool) -> None:
        """Raise BuildError where bounds by part are given for a space without parts, or the other way round."""
        if of_parts and "" in self.bounds:
            raise BuildError(f"{BOUNDS}: the observation has parts; give the bounds of each under its name")
        if not of_parts and (named := sorted(filter(None, self.bounds))):
            raise BuildError(f"{BOUNDS}.{named[0]}: the observation has no parts; give low and high alone")

    def check(self, space: Space) -> None:
        """Raise BuildError for bounds of a part that `space` has not, or that has none."""
        parts = dict(space.parts) if isinstance(space, Dict) else {"": space}
        for key in self.bounds:
            if key not in parts:
                raise BuildError(f"{BOUNDS}.{key}: the observation has no such part; it has {', '.join(parts)}")
            if not isinstance(parts[key], Box):
                raise BuildError(f"{BOUNDS}{key and '.'}{key}: {parts[key]} has no bounds to state")


def read_space(stored: Any, role: str, beside: Beside = Beside()) -> Space:
    """Read the space from the JSON that Stable-Baselines3 stored for it; `role` names it in errors.

    Raises BuildError when the readable text is not enough and only the pickle would tell.
    """
    kind = str(stored.get(":type:", "")) if isinstance(stored, dict) else ""
    name = kind.rpartition(".")[2].rstrip("'>")
    beside.check_form(name == "Dict")
    try:
        space = _dict(str(stored["spaces"]), role, beside) if name == "Dict" else _plain(name, stored, role, beside, "")
    except (KeyError, TypeError, ValueError, SyntaxError) as error:
        raise BuildError(f"the {role} is stored in a form that only unpickling could read ({error!r})") from None
    beside.check(space)
    return space


def parse_space(text: str, role: str, beside: Beside = Beside()) -> Space:
    """Read a space from gymnasium's own words for it, such as Discrete(2) or Box(-1.0, 1.0, (3,), float32).

    Raises BuildError.
    """
    words = WORDS.fullmatch(text)
    try:
        if words is None:
            raise ValueError("no name and brackets")
        name, arguments = words["name"], words["arguments"]
        beside.check_form(name == "Dict")
        if name == "Dict":
            space: Space = _dict(f"{{{arguments}}}", role, beside)
        else:
            space = _worded(name, arguments, role, beside, "")
    except (KeyError, TypeError, ValueError, SyntaxError) as error:
        raise BuildError(
            f"{role}: {text[:60]!r} is not read ({error}); write it as print(env.observation_space) shows it, "
            'such as "Discrete(2)", "MultiDiscrete([3 5 2])" or "Box(-1.0, 1.0, (3,), float32)"'
        ) from None
    beside.check(space)
    return space


def flat_box(width: int, beside: Beside) -> Box:
    """Return the space of `width` numbers of which nothing is known but what stands beside it. Raises BuildError."""
    space = unbounded_box(width)
    beside.check_form(of_parts=False)
    if (given := beside.bounds.get("")) is None:
        return space
    dtype = np.dtype(np.float32)
    low, high = (_stated(getattr(given, name), name, width, dtype) for name in ("low", "high"))
    return _ordered(space.shape, dtype, low, high, "observation space")


def _plain(name: str, stored: Mapping[str, Any], role: str, beside: Beside, key: str) -> Part:
    match name:
        case "Box":
            return _box(stored, role, beside, key)
        case "Discrete":
            return Discrete(int(stored["n"]))
        case "MultiDiscrete":
            return MultiDiscrete(tuple(int(size) for size in _numbers(stored["nvec"])))
        case "MultiBinary":
            return MultiBinary(_shape(stored))
    raise BuildError(f"the {role} is a {name or 'nameless'} space; {FORMS} are read")


def _dict(text: str, role: str, beside: Beside) -> Dict:
    """The parts from gymnasium's own words for them: {'speed': Box(-1.0, 1.0, (3,), float32), 'gear': Discrete(5)}."""
    parts: list[tuple[str, Part]] = []
    rest = text.removeprefix("OrderedDict(").strip()
    opening = rest[:1]
    if opening not in ("{", "["):
        raise ValueError(f"unreadable: {rest[:40]!r}")
    position = 1
    while entry := ENTRY.match(rest, position):
        end = _closing(rest, entry.end())
        key = entry["bare"] or ast.literal_eval(entry["key"])
        parts.append((key, _worded(entry["name"], rest[entry.end() : end], role, beside, key)))
        position = end + 1
        if entry["pair"]:
            if rest[position : position + 1] != ")":
                raise ValueError(f"unreadable from {rest[position : position + 40]!r} on")
            position += 1
    closing = {"{": "}", "[": "]"}[opening]
    if not parts or rest[position:].strip(" ,)") != closing or len({key for key, _ in parts}) != len(parts):
        raise ValueError(f"unreadable from {rest[position : position + 40]!r} on")
    return Dict(tuple(parts))


def _closing(text: str, start: int, brackets: str = "()") -> int:
    """Where the bracket that was opened just before `start` is closed."""
    depth = 1
    for position in range(start, len(text)):
        depth += (text[position] == brackets[0]) - (text[position] == brackets[1])
        if depth == 0:
            return position
    raise ValueError("a bracket is never closed")


def _worded(name: str, arguments: str, role: str, beside: Beside, key: str) -> Part:
    """A space from what stands between the brackets of its own words."""
    if name == "Box":
        match = BOX.fullmatch(arguments)
        if match is None:
            raise ValueError(f"Box({arguments[:60]})")
        low, high = _halves(match["bounds"])
        return _box({"_shape": match["shape"], "dtype": match["dtype"], "low": low, "high": high}, role, beside, key)
    if name == "MultiBinary":
        size = ast.literal_eval(arguments)
        return MultiBinary((size,) if isinstance(size, int) else tuple(size))
    first = arguments.partition(", start=")[0]
    return _plain(name, {"n": first, "nvec": first}, role, beside, key)


def _halves(text: str) -> tuple[str, str]:
    """Low and high: each one number for all, or an array in brackets."""
    text = text.strip()
    end = _closing(text, 1, "[]") + 1 if text.startswith("[") else text.index(",")
    return text[:end], text[end:].lstrip(" ,")


def _box(stored: Mapping[str, Any], role: str, beside: Beside, key: str) -> Box:
    shape, dtype = _shape(stored), np.dtype(str(stored["dtype"]))
    if dtype.kind not in "fiu":
        raise ValueError(f"{dtype} is no type of numbers")
    low, high = (_bound(stored, name, shape, dtype, beside.bounds.get(key)) for name in ("low", "high"))
    if dtype == np.uint8 and key in beside.pictures:
        low, high = (
            np.full(math.prod(shape), end) if bound is None else bound for bound, end in ((low, 0), (high, 255))
        )
    if low is None or high is None:
        raise BuildError(_advice(stored, math.prod(shape), role, key))
    return _ordered(shape, dtype, low, high, role)


def _ordered(shape: tuple[int, ...], dtype: np.dtype[Any], low: NDArray[Any], high: NDArray[Any], role: str) -> Box:
    if np.any(low > high):
        raise BuildError(f"the {role} has a low above its high")
    lows, highs = (tuple(float(value) if math.isfinite(value) else None for value in each) for each in (low, high))
    return Box(shape, str(dtype), lows, highs)


def _shape(stored: Mapping[str, Any]) -> tuple[int, ...]:
    # `shape` in gym before 0.21, `_shape` since.
    return tuple(
        int(size) for size in ast.literal_eval(str(stored["_shape"] if "_shape" in stored else stored["shape"]))
    )


def _bound(
    stored: Mapping[str, Any], name: str, shape: tuple[int, ...], dtype: np.dtype[Any], given: ObservationBounds | None
) -> NDArray[Any] | None:
    """One bound of a Box, flat, in its own type; None where the text abbreviates it and nothing else tells."""
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
    """A bound of the YAML as an array; where there is none, infinite or the last number of the type."""
    each = value if isinstance(value, list) else [value] * size
    if len(each) != size:
        raise BuildError(f"{BOUNDS}: {name} has {len(each)} numbers, the observation {size}")
    none = (-math.inf, math.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    found = [none[name == "high"] if number is None else number for number in each]
    if any(math.isnan(number) for number in found):
        raise BuildError(f"{BOUNDS}: {name} holds nan; write null where there is no bound")
    return _typed(found, dtype)


def _typed(values: list[float], dtype: np.dtype[Any]) -> NDArray[Any]:
    # Text has the shortest digits that give the same number in its own type.
    return np.asarray(values, dtype=dtype if dtype.kind == "f" else np.float64)


def _advice(stored: Mapping[str, Any], size: int, role: str, key: str) -> str:
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
    words = str(text).replace("[", " ").replace("]", " ").replace(",", " ").split()
    if not words:
        raise ValueError("no numbers")
    return [float(word) for word in words]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
