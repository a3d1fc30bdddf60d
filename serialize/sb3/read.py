"""Opens a Stable-Baselines3 .zip, or a bare policy.pth, and takes only JSON and tensors out of it."""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from errors import BuildError
from serialize.sb3.spaces import ActionSpace, Space
from serialize.sb3.stored_spaces import read_action_space, read_space
from serialize.tensors import load_tensors

SETTINGS = "data"
WEIGHTS = "policy.pth"
LIBRARIES = ("stable_baselines3", "sb3_contrib")


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a policy by name; spaces and settings too when they were stored (None, {} when not).

    `policy_module` is where the class of the policy comes from, `settings` all that the algorithm stored.
    """

    state: Mapping[str, torch.Tensor]
    observation: Space | None
    action: ActionSpace | None
    policy_kwargs: Mapping[str, Any]
    policy_module: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


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
    module = _policy_module(path, data)
    try:
        observation = read_space(data.get("observation_space"), "observation space")
        action = read_action_space(data.get("action_space"))
    except BuildError as error:
        raise BuildError(f"{path}: {error}") from None
    kwargs = data.get("policy_kwargs") or {}
    if not isinstance(kwargs, dict):
        raise BuildError(f"{path}: policy_kwargs is not a JSON object")
    return Checkpoint(state, observation, action, kwargs, module, data)


def _policy_module(path: Path, data: Mapping[str, Any]) -> str | None:
    """Where the policy's class comes from. Raises BuildError for a class of the user's own.

    Its methods may do anything with the same tensors, and they are in the file as a pickle only.
    """
    stored = data.get("policy_class")
    module = stored.get("__module__") if isinstance(stored, dict) else None
    if module is not None and str(module).partition(".")[0] not in LIBRARIES:
        raise BuildError(f"{path}: the policy's class is one of {module}, whose code could only be unpickled")
    return None if module is None else str(module)


def _settings(path: Path, text: bytes) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise BuildError(f"{path}: {SETTINGS} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise BuildError(f"{path}: {SETTINGS} is not a JSON object")
    return data
