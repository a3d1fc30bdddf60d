"""A policy as Lua reads it: `policy.lua`, which describes it, and its numbers beside that."""

import hashlib
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge import luajit, wording
from edge.network import Policy
from errors import EdgeError
from files import replace_durably, staging_folder
from handlers.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from settings.load import ROOT

LANES = 8
RUNTIME = ROOT
"""The folder under which Lua finds `edge/lua`."""


def policy_folder(policy: Policy, cache: Path) -> Path:
    """A folder in `cache` with the policy, the same one for the same content."""
    text, numbers = policy_text(policy), policy_numbers(policy).tobytes()
    digest = hashlib.sha256(b"\0".join((text.encode(), numbers))).hexdigest()
    target = cache / f"lua-{digest[:20]}"
    if (target / "policy.lua").is_file():
        return target
    with staging_folder(cache, target.name) as work:
        target.mkdir(exist_ok=True)
        for name, content in (("numbers.f64", numbers), ("policy.lua", text.encode())):  # the last one makes it whole
            (work / name).write_bytes(content)
            replace_durably(work / name, target / name)
    return target


def harness(folder: Path) -> tuple[str, ...]:
    """The command that answers without nginx. Raises EdgeError without LuaJIT."""
    if luajit.library() is None:
        raise EdgeError("LuaJIT is not installed; get it with: apt-get install libnginx-mod-http-lua")
    program = Path(__file__).resolve().parent / "lua" / "harness.lua"
    return (sys.executable, luajit.__file__, str(program), str(RUNTIME), str(folder))


def policy_text(policy: Policy) -> str:
    """The text of `policy.lua`. Raises EdgeError for what only the compiled program can do."""
    seen, space = policy.observation, policy.space
    if policy.normalization is not None:
        raise EdgeError(f"{policy.model} normalises its observations, which the edge does with a C compiler only")
    bits = 8 * space.dtype.itemsize if space.dtype.kind == "f" else 0
    lines = [
        f"model = {_text(policy.model)}",
        f"version = {_text(policy.version)}",
        f"head = {_text(wording.head(policy))}",
        f"tail = {_text(wording.tail(policy))}",
        f"shape_words = {_text(wording.shape(policy))}",
        f"fields = {_list(map(_text, seen.fields or ()))}",
        f"shape = {_list(space.shape)}",
        f"size = {policy.size}",
        f"outputs = {policy.outputs}",
        f"float_bits = {bits}",
        f"clip = {_boolean(seen.out_of_range == 'clip')}",
        f"activation = {_text(policy.activation)}",
        f"scale = {policy.scale!r}",
        f"layers = {_list(_layer(weight) for weight, _ in policy.layers)}",
        *_action(policy),
    ]
    if policy.one_hot is not None:
        lines.append(f"one_hot = {_list(policy.one_hot)}")
    return "return {\n" + "".join(f"  {line},\n" for line in lines) + "}\n"


def policy_numbers(policy: Policy) -> NDArray[np.float64]:
    """What `numbers.f64` holds, in the order of lua/policy.lua."""
    space = policy.space
    parts: list[NDArray[np.float64]] = [space.low.ravel().astype(np.float64), space.high.ravel().astype(np.float64)]
    if isinstance(policy.action, Box):
        parts += [
            bound.ravel().astype(np.float32).astype(np.float64) for bound in (policy.action.low, policy.action.high)
        ]
    for weight, bias in policy.layers:
        filled = -len(bias) % LANES
        columns = np.pad(weight.T, ((0, 0), (0, filled))).reshape(weight.shape[1], -1, LANES)
        parts += [columns.transpose(1, 0, 2).ravel().astype(np.float64), np.pad(bias, (0, filled)).astype(np.float64)]
    return np.concatenate(parts)


def _action(policy: Policy) -> Iterable[str]:
    match policy.action:
        case Discrete(start=start):
            return ('action = "discrete"', f"start = {start}")
        case MultiDiscrete(nvec=nvec):
            return ('action = "multi_discrete"', f"nvec = {_list(nvec)}")
        case MultiBinary():
            return ('action = "multi_binary"',)
        case Box(shape=shape):
            limit = () if policy.limit is None else (f"limit = {_single(policy.limit)}",)
            squash = f"squash = {_boolean(policy.squash)}"
            return ('action = "continuous"', f"action_shape = {_list(shape)}", squash, *limit)


def _layer(weight: NDArray[np.float32]) -> str:
    outputs, inputs = weight.shape
    return f"{{ inputs = {inputs}, outputs = {outputs} }}"


def _single(value: float) -> str:
    rounded = float(np.float32(value))
    return repr(rounded) if math.isfinite(rounded) else "math.huge"


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _list(values: Iterable[object] | Sequence[object]) -> str:
    return "{ " + ", ".join(map(str, values)) + " }"


def _text(text: str) -> str:
    """A Lua string of the same bytes."""
    plain = (chr(byte) if 0x20 <= byte < 0x7F and chr(byte) not in '"\\' else f"\\{byte:03d}" for byte in text.encode())
    return f'"{"".join(plain)}"'
