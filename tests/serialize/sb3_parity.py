"""`python -m tests.serialize.sb3_parity [OBSERVATIONS]`: a Markdown table of answers beside Stable-Baselines3's own."""

import functools
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

import settings
from handlers import action_selection
from handlers.batch import Outputs
from handlers.json_object import JsonObject
from handlers.spaces import action_distribution, action_space
from serialize.loaded_model import LoadedModel
from serialize.policy_loader import read_policy
from settings.schema import PolicyModel
from tests.serialize.sb3_cases import CASES, Case
from tests.serialize.sb3_models import make, samples

TIE = 1e-5
"""Two outputs so close, as a share of the larger one, are a tie: either action is right, and rounding takes one."""
PART = 1000  # observations at a time


@dataclass(frozen=True)
class Compared:
    """What became of one policy: how many observations, the largest deviation, and choices that differ."""

    observations: int
    deviation: float
    ties: int
    wrong: int


@functools.cache
def configured(*overrides: str) -> PolicyModel:
    """A policy's settings that state nothing but the overrides, so that they fit any."""
    plain = ("served_model.fields=null", "served_model.actions=null", "served_model.policy.activation=null")
    found = settings.load(["served_model=cartpole", *plain, *overrides])
    assert isinstance(found.served_model, PolicyModel)
    return found.served_model


def served(source: LoadedModel, observations: Any, more: Outputs | None = None) -> tuple[list[Any], NDArray[Any]]:
    """The actions that a worker would answer, and the network's outputs; `more` as in handlers.action_selection."""
    inputs = network_inputs(source, observations)
    with torch.inference_mode():
        parts = [source.network(inputs[start : start + PART]).numpy() for start in range(0, len(inputs), PART)]
    outputs = np.concatenate(parts)
    action = JsonObject(source.card["action"], "card")
    space = action_space(action.object("space"))
    return action_selection.select_actions(outputs, space, action_distribution(action, space), more or {}), outputs


def network_inputs(source: LoadedModel, observations: Any) -> torch.Tensor:
    if isinstance(observations, dict):
        keys = [part["key"] for part in source.card["observation"]["space"]["spaces"]]
        count = len(observations[keys[0]])
        flat = [np.asarray(observations[key], np.float32).reshape(count, -1) for key in keys]
        return torch.from_numpy(np.concatenate(flat, axis=1))
    return torch.as_tensor(observations.reshape(-1, *source.example.shape[1:])).to(source.example.dtype)


def predicted(model: BaseAlgorithm, observations: Any) -> NDArray[Any]:
    """The library's own answer, in parts: its memory grows with the pictures."""
    count = len(next(iter(observations.values())) if isinstance(observations, dict) else observations)
    found = []
    for start in range(0, count, PART):
        piece = slice(start, start + PART)
        some = (
            {key: values[piece] for key, values in observations.items()}
            if isinstance(observations, dict)
            else observations[piece]
        )
        found.append(model.predict(some, deterministic=True)[0])
    return np.concatenate(found)


def compare(case: Case, folder: Path, count: int) -> Compared:
    """Make the model, save it, read it as the kit does, and hold `count` answers against `predict`."""
    model = make(case.algorithm, case.observation, case.action, case.policy, **case.arguments)
    model.save(folder / "policy.zip")
    source = read_policy(configured(), folder / "policy.zip")
    observations = samples(case.observation, count)
    expected = predicted(model, observations)
    answered, outputs = served(source, observations)
    actual = np.asarray(answered)
    assert actual.shape == expected.shape
    if isinstance(case.action, spaces.Box):
        assert np.ptp(expected) > 0
        return Compared(count, float(np.abs(actual - expected).max()), 0, 0)
    differs = (actual != expected).reshape(count, -1)
    tied = _ties(outputs, case.action, differs.shape[1])
    return Compared(count, 0.0, int((differs & tied).any(axis=1).sum()), int((differs & ~tied).any(axis=1).sum()))


def _ties(outputs: NDArray[Any], action: Any, width: int) -> NDArray[np.bool_]:
    """Of each choice, whether its best two outputs are a tie: [count, choices]."""
    wide = outputs.astype(np.float64)
    if isinstance(action, spaces.Discrete):
        parts = [wide]
    elif isinstance(action, spaces.MultiDiscrete):
        parts = np.split(wide, np.cumsum(action.nvec)[:-1], axis=1)
    elif wide.shape[1] == 2 * width:
        parts = np.split(wide, width, axis=1)
    else:
        parts = [np.stack([column, np.zeros_like(column)], axis=1) for column in wide.T]
    best = [np.sort(part, axis=1)[:, -2:] for part in parts]
    return np.stack([two[:, 1] - two[:, 0] <= TIE * np.maximum(1, np.abs(two).max(axis=1)) for two in best], axis=1)


def main(count: int) -> int:
    """Print the table and return 1 when an answer differs that may not."""
    sys.stdout.write("| policy | observations | largest deviation | near ties answered otherwise | wrong |\n")
    sys.stdout.write("|---|---|---|---|---|\n")
    wrong = 0
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            found = compare(case, Path(folder), count)
        wrong += found.wrong + (found.deviation > TIE)
        exact = f"{found.deviation:.1e}" if isinstance(case.action, spaces.Box) else "-"
        sys.stdout.write(f"| {name} | {found.observations} | {exact} | {found.ties} | {found.wrong} |\n")
        sys.stdout.flush()
    return 1 if wrong else 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
