"""The gate before the edge may serve: the handler's answers, golden and over random states, and how ties count."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archive import Archive
from edge.asking import ANY, Answer
from edge.network import Policy
from edge.states import bodies, states
from errors import EdgeError
from handlers.golden import misses
from handlers.spaces import Box, Discrete, MultiBinary, MultiDiscrete

TOLERANCE = 1e-5
"""How far a continuous action may be off, relative to it, or to half the width of its bounds, where that is above 1: so
fine is float32 there. And the difference of two outputs, relative to the larger, below which either action is right."""

Program = Callable[[list[tuple[int, bytes]]], list[Answer]]


@dataclass(frozen=True)
class Parity:
    """What was compared, and the near ties in which program and handler chose differently."""

    golden: int
    states: int
    ties: int
    deviation: float

    def __str__(self) -> str:
        tied = f"{self.ties} near ties answered differently" if self.ties else "no near tie answered differently"
        compared = f"{self.golden} golden answers and {self.states} random states agree"
        return f"{compared}; {tied}, largest deviation {self.deviation:.1e}"


def check(program: Program, handler: Program, policy: Policy, archive: Archive, count: int) -> Parity:
    """Compare a program with the handler; raises EdgeError with the first state that is answered differently."""
    golden = _golden(program, archive)
    values = states(policy, count)
    asked = [(ANY, body) for body in bodies(policy, values)]
    ours, theirs = _actions(program(asked)), _actions(handler(asked))
    if ours.shape != theirs.shape or len(ours) != count:
        raise EdgeError(
            f"{policy.model}: the edge gave {len(ours)} actions, the handler {len(theirs)}, to {count} states"
        )
    if isinstance(policy.action, Box):
        off = np.abs(ours - theirs) / np.maximum(_width(policy.action), np.maximum(1, np.abs(theirs)))
        _refuse(policy, values, ours, theirs, np.asarray((off > TOLERANCE).any(axis=1)))
        return Parity(golden, count, 0, float(off.max()))
    different = np.flatnonzero((ours != theirs).any(axis=1))
    tied = _near_ties(policy, values[different], ours[different] != theirs[different])
    wrong = np.zeros(count, dtype=bool)
    wrong[different[~tied]] = True
    _refuse(policy, values, ours, theirs, wrong)
    return Parity(golden, count, int(tied.sum()), 0.0)


def _width(space: Box) -> NDArray[np.float64]:
    """Half the width of each action's bounds; 0 where there are none."""
    half = (space.high.ravel().astype(np.float64) - space.low.ravel()) / 2
    return np.where(np.isfinite(half), half, 0)


def _golden(program: Program, archive: Archive) -> int:
    samples = archive.golden["samples"]
    answers = program([(ANY, base64.b64decode(sample["body"])) for sample in samples])
    for number, (sample, answer) in enumerate(zip(samples, answers, strict=True), start=1):
        if answer.status != 200:
            raise EdgeError(f"golden input {number} got {answer.status}: {answer.body.decode()[:200]}")
        if (found := misses(sample["predictions"], answer.body, archive.golden["tolerance"])) is not None:
            raise EdgeError(f"golden input {number} is answered differently: {found}")
    return len(samples)


def _actions(answers: list[Answer]) -> NDArray[np.float64]:
    """All actions, [N, numbers of an action]. Raises EdgeError for an answer that is none."""
    actions: list[Any] = []
    for answer in answers:
        if answer.status != 200:
            raise EdgeError(f"random states got {answer.status}: {answer.body.decode()[:200]}")
        actions += [item["action"] for item in json.loads(answer.body)["predictions"]]
    return np.array(actions, dtype=np.float64).reshape(len(actions), -1)


def _near_ties(policy: Policy, values: NDArray[np.float64], differ: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each state's outputs, in float64, lie so close that rounding decides in every choice that differs."""
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


def _refuse(
    policy: Policy,
    values: NDArray[np.float64],
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    wrong: NDArray[np.bool_],
) -> None:
    if not wrong.any():
        return
    first = int(np.flatnonzero(wrong)[0])
    told = f"state {values[first].tolist()} gets {ours[first].tolist()}, the handler says {theirs[first].tolist()}"
    raise EdgeError(f"{policy.model}: {int(wrong.sum())} of {len(wrong)} states are answered differently; {told}")
