"""Opens a Stable-Baselines3 .zip, or a bare policy.pth, and takes only JSON and tensors out of it."""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from errors import BuildError
from serialize.sb3.spaces import Space, read_space
from serialize.tensors import load_tensors

SETTINGS = "data"
WEIGHTS = "policy.pth"


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a policy by name; spaces and settings too when they were stored (None, {} when not)."""

    state: Mapping[str, torch.Tensor]
    observation: Space | None
    action: Space | None
    policy_kwargs: Mapping[str, Any]


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads the file. Raises BuildError for another kind of file, or one that would have to be unpickled."""
    if not zipfile.is_zipfile(path):
        # torch.save before 1.6 wrote no zip; a policy may be as old.
        return Checkpoint(load_tensors(path, path), None, None, {})
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if WEIGHTS not in names:
            return Checkpoint(load_tensors(path, path), None, None, {})
        if SETTINGS not in names:
            raise BuildError(f"{path}: has {WEIGHTS} but no {SETTINGS}; not written by Stable-Baselines3's save()")
        weights = io.BytesIO(archive.read(WEIGHTS))
        data = _settings(path, archive.read(SETTINGS))
    state = load_tensors(weights, path)
    try:
        observation = read_space(data.get("observation_space"), "observation space")
        action = read_space(data.get("action_space"), "action space")
    except BuildError as error:
        raise BuildError(f"{path}: {error}") from None
    kwargs = data.get("policy_kwargs") or {}
    return Checkpoint(state, observation, action, kwargs)


def _settings(path: Path, text: bytes) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise BuildError(f"{path}: {SETTINGS} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise BuildError(f"{path}: {SETTINGS} is not a JSON object")
    return data
