"""Opens a Stable-Baselines3 .zip or a bare policy.pth and takes only JSON and tensors out of it.

    policy.zip ──▶ JSON settings + tensors ─┐
                                            ├─▶ Checkpoint: tensors, arguments, spaces
    policy.pth ──▶ tensors ─── YAML states ─┘

A .zip stores the policy's arguments that were given. The others had the library's defaults, which depend on its
version. A bare policy.pth stores none. `served_model.policy` states what the file does not contain; where the file
contains it too, both must agree.
"""

import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from errors import BuildError
from handlers.policy_network import ACTIVATIONS
from serialize.sb3.policy_spaces import ActionSpace, Space
from serialize.sb3.stored_spaces import action_space, observation_space
from serialize.state_dict import check_finite, load_tensors
from settings.schema import PolicyModel
from settings.schema.served_model import PolicySettings

SETTINGS = "data"
WEIGHTS = "policy.pth"
VERSION = "_stable_baselines3_version"

ACTIVATION = re.compile(r"<class 'torch\.nn\.modules\.activation\.(\w+)'>")
EXTRACTORS = ("FlattenExtractor", "NatureCNN", "CombinedExtractor")
EXTRACTOR = re.compile(rf"<class 'stable_baselines3\.common\.torch_layers\.(?:{'|'.join(EXTRACTORS)})'>")
OLDEST, NEWEST = (1, 0), (2, 9)
"""The releases of Stable-Baselines3 whose defaults this module knows; they are the same in all of them."""

IRRELEVANT = frozenset(
    {
        *("net_arch", "share_features_extractor", "n_critics", "n_quantiles", "batch_norm", "batch_norm_momentum"),
        *("features_extractor_kwargs", "optimizer_class", "optimizer_kwargs", "ortho_init", "renorm_warmup_steps"),
        *("log_std_init", "full_std", "use_expln", "use_sde", "sde_net_arch", ":type:", ":serialized:"),
    }
)
"""Arguments that the tensors show as well, or that only training and noise need."""
USED = frozenset(
    {"activation_fn", "features_extractor_class", "squash_output", "normalize_images", "clip_mean", "batch_norm_eps"}
)


class Tensors:
    """Tensors by name. A tensor that is neither read nor left out by name stops the build: answers may need it."""

    def __init__(self, state: Mapping[str, torch.Tensor]) -> None:
        self._state = state
        self._unread = set(state)
        self.left_out: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._state

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin with `prefix`, in the order of the file."""
        return [name for name in self._state if name.startswith(prefix)]

    def read(self, name: str) -> torch.Tensor:
        """Return one tensor as float32. Raises BuildError if it is missing or too large for that type."""
        if name not in self._state:
            raise BuildError(f"has no {name}")
        self._unread.discard(name)
        tensor = self._state[name].float()
        check_finite({name: tensor}, "in 32 bits")
        return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of one tensor. Raises BuildError if it is missing."""
        if name not in self._state:
            raise BuildError(f"has no {name}")
        return tuple(self._state[name].shape)

    def leave_out(self, *prefixes: str) -> None:
        """Skip the tensors that begin with one of `prefixes`, because only training needs them."""
        for name in [name for name in self._state if name in self._unread and name.startswith(prefixes)]:
            self._unread.discard(name)
            self.left_out.append(name)

    def leave_out_copies(self, of: str, prefix: str) -> None:
        """Skip the tensors that `prefix` names a second time. Raises BuildError for a copy that differs."""
        for name in self.names(prefix):
            original = of + name.removeprefix(prefix)
            if original not in self._state or not torch.equal(self._state[name], self._state[original]):
                raise BuildError(f"{name} is not the same as {original}")
            self._unread.discard(name)

    def check_all_read(self, besides: str | None = None) -> None:
        """Raise BuildError for a tensor that was neither read nor left out, except those under `besides`."""
        left = [name for name in self._state if name in self._unread]
        if besides is not None:
            left = [name for name in left if not name.startswith(besides)]
        if left:
            more = f", and {len(left) - 1} more," if len(left) > 1 else ","
            raise BuildError(
                f"holds {left[0]} {self.shape(left[0])}{more} which no supported policy has: "
                "without it the answers would be others"
            )


@dataclass(frozen=True)
class PolicyArguments:
    """The arguments of a policy that influence its answers.

    `stored` are the policy_kwargs of a .zip, {} if none were given, and None for a bare policy.pth. `version` is the
    library's version from the .zip, and `stated` the section of the YAML.
    """

    stored: Mapping[str, Any] | None
    version: str | None
    stated: PolicySettings

    def __post_init__(self) -> None:
        """Raise BuildError for an argument whose effect this module does not know."""
        if unknown := sorted(set(self.stored or {}) - IRRELEVANT - USED):
            raise BuildError(f"policy_kwargs holds {unknown[0]}, whose effect on the actions is not known here")

    def is_known(self, name: str) -> bool:
        """Return True for an argument that is stored, a known default, or stated in the YAML."""
        stored = "activation_fn" if name == "activation" else name
        return getattr(self.stated, name) is not None or self._in_file(stored, True) is not None

    def unstated(self, **examples: Any) -> BuildError:
        """Return the error that shows what to write into the YAML; the values are examples."""
        written = ", ".join(f"{name}: {_yaml(example)}" for name, example in examples.items())
        return BuildError(
            f"{self._reason}, and {', '.join(examples)} decide{'s' if len(examples) == 1 else ''} the actions: state "
            "what it was trained with in the model's YAML file, written like this (the values are only an example): "
            f"policy: {{{written}}}"
        )

    def activation(self, default: str, layers: int) -> str:
        """Return the name of the activation in torch.nn; a single layer has none and gets the default's.

        Raises BuildError for an activation that is not a plain class of torch.nn.
        """
        if layers == 1:
            return default
        found = self._in_file("activation_fn", default)
        if found is not None and (match := ACTIVATION.fullmatch(str(found))) is not None:
            found = match[1]
        activation = self._agreed("activation", found, default)
        if activation not in ACTIVATIONS:
            supported = ", ".join(ACTIVATIONS)
            raise BuildError(f"the activation {activation} is not supported; of torch.nn are {supported}")
        return str(activation)

    def flag(self, name: str, default: bool) -> bool:
        """Return a flag, stored as JSON or as Python's text. Raises BuildError for anything else."""
        found = self._in_file(name, default)
        if found is not None:
            if str(found) not in ("True", "False"):
                raise BuildError(f"{name} is {found}, neither True nor False")
            found = str(found) == "True"
        return bool(self._agreed(name, found, default))

    def number(self, name: str, default: float) -> float:
        """Return a number, stored as JSON or as text. Raises BuildError for anything else."""
        found = self._in_file(name, default)
        try:
            found = None if found is None else float(found)
        except (TypeError, ValueError):
            raise BuildError(f"{name} is {found}, not a number") from None
        return float(self._agreed(name, found, default))

    def check_extractor(self) -> None:
        """Raise BuildError for the user's own feature extractor, whose code the file does not contain."""
        text = str((self.stored or {}).get("features_extractor_class", ""))
        if text and EXTRACTOR.fullmatch(text) is None:
            raise BuildError(
                f"the feature extractor {text} is not supported: its code could only be unpickled; "
                f"{', '.join(EXTRACTORS)} are"
            )

    @property
    def _defaults_known(self) -> bool:
        numbers = re.match(r"(\d+)\.(\d+)", self.version or "")
        return numbers is not None and OLDEST <= (int(numbers[1]), int(numbers[2])) <= NEWEST

    @property
    def _reason(self) -> str:
        if self.stored is None:
            return "a bare policy.pth holds tensors alone"
        wrote = f"version {self.version}" if self.version else "an unknown version"
        return f"it was written by {wrote} of Stable-Baselines3, whose defaults are not known here"

    def _in_file(self, name: str, default: Any) -> Any:
        if name in (self.stored or {}):
            return (self.stored or {})[name]
        return default if self._defaults_known else None

    def _agreed(self, name: str, found: Any, example: Any) -> Any:
        stated = getattr(self.stated, name)
        if found is None and stated is None:
            raise self.unstated(**{name: example})
        if found is not None and stated is not None and found != stated:
            raise BuildError(
                f"its {name} is {found}, served_model.policy.{name} is {stated}; "
                f"set served_model.policy.{name} to null, or give the right file"
            )
        return stated if found is None else found


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a policy, its arguments, and its spaces, which are None where neither file nor YAML states them.

    `module` defines the policy's class, None for a bare policy.pth. `settings` are the algorithm's stored values.
    """

    tensors: Tensors
    arguments: PolicyArguments
    observation: Space | None
    action: ActionSpace | None
    module: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def read_checkpoint(path: Path, model: PolicyModel) -> Checkpoint:
    """Read the file and the YAML's statements about it.

    Raises BuildError for another kind of file, one that needs unpickling, and one that contradicts `model`.
    """
    if not zipfile.is_zipfile(path):
        # torch.save before 1.6 wrote no zip, and a policy may be that old.
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
    images = _nature_cnn_parts(tensors, kwargs)
    return Checkpoint(
        tensors=tensors,
        arguments=PolicyArguments(kwargs, version, model.policy),
        observation=observation_space(model, data.get("observation_space") or {}, images),
        action=action_space(model, data.get("action_space") or {}),
        module=_module(data),
        settings=data,
    )


def _bare(path: Path, model: PolicyModel) -> Checkpoint:
    tensors = Tensors(load_tensors(path, path, model.checkpoint_key))
    return Checkpoint(tensors, PolicyArguments(None, None, model.policy), observation_space(model), action_space(model))


def _nature_cnn_parts(tensors: Tensors, kwargs: Mapping[str, Any]) -> frozenset[str]:
    """Return the parts of an observation that a NatureCNN receives; an observation without parts is "".

    The library gives a NatureCNN only bytes from 0 to 255, unless an argument declares that images are normalised
    already or that the policy does not divide them by 255.
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
    """Return the module of the policy's class, which gives the tensors their meaning."""
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


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return f'"{text}"' if set(text) & set("([{,:'") else text
