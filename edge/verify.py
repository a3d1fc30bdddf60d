"""Compares a generated program with the handler of its archive; the edge serves only programs that pass.

golden requests, random states ──ask────────────────▶ the harness (native/harness.c)──▶ verify
──reference_replies──▶ the archive's handler ──────────▶
"""

import base64
import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archive import Archive, TrustedArchive
from errors import EdgeError, last_words
from handlers.golden import misses
from handlers.spaces import Box, Discrete, MultiBinary, MultiDiscrete

if TYPE_CHECKING:  # it loads torch, which no comparison of golden answers needs
    from edge.edge_policy import EdgePolicy

REFERENCE_HANDLER = Path(__file__).resolve().parent / "reference_handler.py"

ANY, STATE = 0, 1
"""The forms of a request: any form that the handler reads, or one state of named fields for the short response."""

BATCH = 500
"""Observations in one body: few enough for any limit, and a hundred thousand of them make two hundred bodies."""

TOLERANCE = 1e-5
"""The largest difference of a continuous action, relative to the action or to half the width of its bounds where that
is above 1, as fine as float32 is there. Two outputs that differ by less, relative to the larger one, are a tie."""


@dataclass(frozen=True)
class HarnessReply:
    """The response to one body."""

    status: int
    body: bytes


Program = Callable[[list[tuple[int, bytes]]], list[HarnessReply]]


@dataclass(frozen=True)
class VerificationResult:
    """The number of comparisons, and of ties in which program and handler chose differently."""

    golden: int
    states: int
    ties: int
    deviation: float

    def __str__(self) -> str:
        tied = f"{self.ties} near ties answered differently" if self.ties else "no near tie answered differently"
        compared = f"{self.golden} golden answers and {self.states} random states agree"
        return f"{compared}; {tied}, largest deviation {self.deviation:.1e}"


def verify(
    program: Program, handler: Program, policy: "EdgePolicy", archive: Archive, count: int
) -> VerificationResult:
    """Compare a program with the handler. Raises EdgeError with the first state that they answer differently."""
    golden = _compare_golden(program, archive)
    values = random_states(policy, count)
    requests = [(ANY, body) for body in bodies(policy, values)]
    ours, theirs = _actions(program(requests)), _actions(handler(requests))
    if ours.shape != theirs.shape or len(ours) != count:
        counts = f"the edge gave {len(ours)} actions, the handler {len(theirs)}"
        raise EdgeError(f"{policy.model}: {counts}, to {count} states")
    if isinstance(policy.action, Box):
        off = np.abs(ours - theirs) / np.maximum(_half_width(policy.action), np.maximum(1, np.abs(theirs)))
        _refuse_wrong(policy, values, ours, theirs, np.asarray((off > TOLERANCE).any(axis=1)))
        return VerificationResult(golden, count, 0, float(off.max()))
    different = np.flatnonzero((ours != theirs).any(axis=1))
    tied = _near_ties(policy, values[different], ours[different] != theirs[different])
    wrong = np.zeros(count, dtype=bool)
    wrong[different[~tied]] = True
    _refuse_wrong(policy, values, ours, theirs, wrong)
    return VerificationResult(golden, count, int(tied.sum()), 0.0)


def ask(command: Sequence[str], requests: Iterable[tuple[int, bytes]], **options: object) -> list[HarnessReply]:
    """Send (form, body) pairs to a program and return its replies in order.

    The program reads and writes the frames of native/harness.c. Raises EdgeError with the last line of one that fails.
    """
    sent = list(requests)
    frames = b"".join(struct.pack("II", form, len(body)) + body for form, body in sent)
    done = subprocess.run(command, input=frames, capture_output=True, check=False, **options)  # type: ignore[call-overload]
    replies = list(_unpacked(done.stdout))
    if done.returncode != 0 or len(replies) != len(sent):
        last = last_words(done.stderr.decode(errors="replace"), done.returncode)
        raise EdgeError(f"{Path(command[-1]).name} ended with {done.returncode}: {last[:500]}")
    return replies


def reference_replies(archive: TrustedArchive, requests: Iterable[tuple[int, bytes]]) -> list[HarnessReply]:
    """Return the replies of the archive's own handler, which runs in a separate process."""
    with tempfile.TemporaryDirectory(prefix="marina-edge-") as folder:
        archive.unpack(Path(folder))
        # Isolated, so that files which the archive packs for a worker's start, such as sitecustomize.py, do not run.
        return ask((sys.executable, "-I", "-W", "ignore", str(REFERENCE_HANDLER)), requests, cwd=folder)


def random_states(policy: "EdgePolicy", count: int, seed: int = 0) -> NDArray[np.float64]:
    """Draw [count, size] values inside the space: uniform where it is bounded, of four magnitudes where it is not."""
    space, generator = policy.space, np.random.default_rng(seed)
    low, high = (bound.astype(np.float64).ravel() for bound in (space.low, space.high))
    magnitude = 10.0 ** generator.integers(-2, 2, (count, 1))
    values = generator.normal(size=(count, policy.size)) * magnitude
    narrow = np.isfinite(low) & np.isfinite(high) & (high - low < 1e6)
    values[:, narrow] = generator.uniform(low[narrow], high[narrow], (count, int(narrow.sum())))
    if space.dtype.kind != "f":
        values = np.round(values)
    inside = np.clip(values, low, high).astype(np.float32)
    # Every other state has few digits, as people write them; cut towards zero, which stays inside most spaces.
    short = np.trunc(inside[::2].astype(np.float64) * 1e4) / 1e4
    mixed = inside.astype(np.float64)
    mixed[::2] = np.clip(short, low, high)
    return mixed


def bodies(policy: "EdgePolicy", values: NDArray[np.float64]) -> list[bytes]:
    """Return the states as JSON, `BATCH` of them in a body."""
    shaped = values.reshape(-1, *policy.space.shape)
    parts = (shaped[start : start + BATCH] for start in range(0, len(shaped), BATCH))
    return [json.dumps({"instances": part.tolist()}).encode() for part in parts]


def _unpacked(stream: bytes) -> Iterable[HarnessReply]:
    at = 0
    while at + 8 <= len(stream):
        status, size = struct.unpack_from("II", stream, at)
        yield HarnessReply(status, stream[at + 8 : at + 8 + size])
        at += 8 + size


def _compare_golden(program: Program, archive: Archive) -> int:
    samples = archive.golden["samples"]
    replies = program([(ANY, base64.b64decode(sample["body"])) for sample in samples])
    for number, (sample, reply) in enumerate(zip(samples, replies, strict=True), start=1):
        check_golden(number, sample, reply.status, reply.body, archive.golden["tolerance"])
    return len(samples)


def check_golden(number: int, sample: Any, status: int, body: bytes, tolerance: float) -> None:
    """Compare the response to a golden request. Raises EdgeError when it is another one."""
    if status != 200:
        raise EdgeError(f"golden input {number} got {status}: {body.decode(errors='replace')[:200]}")
    if (difference := misses(sample["predictions"], body, tolerance)) is not None:
        raise EdgeError(f"golden input {number} is answered differently: {difference}")


def _actions(replies: list[HarnessReply]) -> NDArray[np.float64]:
    """Return all actions, [N, values of an action]. Raises EdgeError for a reply that is an error."""
    actions: list[Any] = []
    for reply in replies:
        if reply.status != 200:
            raise EdgeError(f"random states got {reply.status}: {reply.body.decode()[:200]}")
        actions += [item["action"] for item in json.loads(reply.body)["predictions"]]
    return np.array(actions, dtype=np.float64).reshape(len(actions), -1)


def _half_width(space: Box) -> NDArray[np.float64]:
    """Return half the width of each action's bounds, 0 where there are none."""
    half = (space.high.ravel().astype(np.float64) - space.low.ravel()) / 2
    return np.where(np.isfinite(half), half, 0)


def _near_ties(policy: "EdgePolicy", values: NDArray[np.float64], differ: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the states whose outputs, in float64, are so close that rounding decides every choice that differs."""
    if len(values) == 0:
        return np.zeros(0, dtype=bool)
    raw = policy.raw(values.astype(np.float32).astype(np.float64))
    match policy.action:
        case Discrete():
            parts = [raw]
        case MultiDiscrete(nvec=nvec):
            parts = np.split(raw, np.cumsum(nvec)[:-1], axis=1)
        case MultiBinary():
            parts = [np.stack([column, np.zeros_like(column)], axis=1) for column in raw.T]
        case other:
            raise EdgeError(f"no choices in {other}")
    close = []
    for part in parts:
        best = np.sort(part, axis=1)[:, -2:]
        close.append(best[:, 1] - best[:, 0] <= TOLERANCE * np.maximum(1, np.abs(best[:, 1])))
    return np.asarray((np.stack(close, axis=1) | ~differ).all(axis=1))


def _refuse_wrong(
    policy: "EdgePolicy",
    values: NDArray[np.float64],
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    wrong: NDArray[np.bool_],
) -> None:
    if not wrong.any():
        return
    first = int(np.flatnonzero(wrong)[0])
    state, action, right = (part[first].tolist() for part in (values, ours, theirs))
    example = f"state {state} gets {action}, the handler answers {right}"
    raise EdgeError(f"{policy.model}: {int(wrong.sum())} of {len(wrong)} states are answered differently; {example}")
