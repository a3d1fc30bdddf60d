"""Opens a Stable-Baselines3 .zip, or a bare policy.pth, and takes only JSON and tensors out of it."""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from errors import BuildError
from serialize.sb3.kwargs import Arguments
from serialize.sb3.layers import Layer, Tensors
from serialize.sb3.spaces import ActionSpace, Space
from serialize.sb3.stated_spaces import stated_action, stated_observation
from serialize.state_dict import load_tensors
from settings.schema import PolicyModel

SETTINGS = "data"
WEIGHTS = "policy.pth"
VERSION = "_stable_baselines3_version"


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a policy, the arguments that it was made with, and its spaces; None where nobody says them.

    `module` is where the policy's class comes from, None for a bare policy.pth; `settings` is all that the algorithm
    stored.
    """

    tensors: Tensors
    arguments: Arguments
    observation: Space | None
    action: ActionSpace | None
    module: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def spaces(
        self, extractor: str, layers: tuple[Layer, ...], action_space: str, **arguments: Any
    ) -> tuple[Space, ActionSpace]:
        """Return the spaces. Raises BuildError when one of them or of the `arguments` is neither stored nor stated.

        All tensors but the extractor's must be read by then, so that nobody states things of a file that is refused.
        `action_space` and `arguments` are examples of what to write into the YAML; that of the observations follows
        from the tensors of `extractor` and the first of the `layers`. One layer alone needs no activation.
        """
        self.tensors.check_all_read(besides=f"{extractor}.")
        if len(layers) == 1:
            arguments.pop("activation", None)
        missing = {name: example for name, example in arguments.items() if not self.arguments.says(name)}
        if _picture_tensors(self.tensors, extractor) and not self.arguments.says("normalize_images"):
            missing["normalize_images"] = True
        if self.observation is None:
            missing["observation_space"] = _example(self.tensors, extractor, layers)
        if self.action is None:
            missing["action_space"] = action_space
        if missing or self.observation is None or self.action is None:
            raise self.arguments.unstated(**missing)
        return self.observation, self.action


def read_checkpoint(path: Path, model: PolicyModel) -> Checkpoint:
    """Read the file, together with what `model` states of it.

    Raises BuildError for another kind of file, one that would have to be unpickled, and one that `model` contradicts.
    """
    if not zipfile.is_zipfile(path):
        # torch.save before 1.6 wrote no zip; a policy may be as old.
        return _bare(path, model)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if WEIGHTS not in names:
            return _bare(path, model)
        if SETTINGS not in names:
            raise BuildError(f"has {WEIGHTS} but no {SETTINGS}; not written by Stable-Baselines3's save()")
        weights = io.BytesIO(archive.read(WEIGHTS))
        data = _settings(archive.read(SETTINGS))
        version = archive.read(VERSION).decode("utf-8", "replace").strip() if VERSION in names else None
    kwargs = data.get("policy_kwargs") or {}
    if not isinstance(kwargs, dict):
        raise BuildError("policy_kwargs is not a JSON object")
    tensors = Tensors(load_tensors(weights, path, model.checkpoint_key))
    pictures = _pictures(tensors, kwargs)
    return Checkpoint(
        tensors=tensors,
        arguments=Arguments(kwargs, version, model.policy),
        observation=stated_observation(model, data.get("observation_space") or {}, pictures),
        action=stated_action(model, data.get("action_space") or {}),
        module=_module(data),
        settings=data,
    )


def _bare(path: Path, model: PolicyModel) -> Checkpoint:
    tensors = Tensors(load_tensors(path, path, model.checkpoint_key))
    return Checkpoint(tensors, Arguments(None, None, model.policy), stated_observation(model), stated_action(model))


def _example(tensors: Tensors, extractor: str, layers: tuple[Layer, ...]) -> str:
    """A space in gymnasium's words, as it might be."""
    pictures = _picture_tensors(tensors, extractor)
    if not pictures:
        return f"Box(-inf, inf, ({layers[0].inputs},), float32)"
    picture = f"Box(0, 255, ({tensors.shape(pictures[0])[1]}, 84, 84), uint8)"
    _, combined, rest = pictures[0].partition(".extractors.")
    key = rest.removesuffix(".cnn.0.weight")
    return f"Dict('{key}': {picture}, 'speed': Box(-inf, inf, (2,), float32))" if combined else picture


def _picture_tensors(tensors: Tensors, extractor: str) -> list[str]:
    return [name for name in tensors.names(f"{extractor}.") if name.endswith("cnn.0.weight")]


def _pictures(tensors: Tensors, kwargs: Mapping[str, Any]) -> frozenset[str]:
    """The parts of an observation that a NatureCNN sees; "" is one without parts.

    The library gives it nothing but bytes from 0 to 255, unless it is told that pictures are normalised already, which
    it takes for granted where they are not to be divided by 255.
    """
    if "normalized_image" in str(kwargs.get("features_extractor_kwargs")) or "normalize_images" in kwargs:
        return frozenset()
    found = set()
    for name in tensors.names(""):
        _, extractor, rest = name.partition("features_extractor.")
        if extractor and rest.endswith("cnn.0.weight"):
            found.add(rest.removeprefix("extractors.").removesuffix("cnn.0.weight").removesuffix("."))
    return frozenset(found)


def _module(data: Mapping[str, Any]) -> str:
    """Where the policy's class comes from, which says how its tensors are meant."""
    stored = data.get("policy_class")
    module = stored.get("__module__") if isinstance(stored, dict) else None
    if module is None:
        raise BuildError("does not name the policy's class; save it again with Stable-Baselines3 from 1.0 on")
    return str(module)


def _settings(text: bytes) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BuildError(f"{SETTINGS} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise BuildError(f"{SETTINGS} is not a JSON object")
    return data
