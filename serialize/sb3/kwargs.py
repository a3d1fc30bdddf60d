"""The arguments that a policy was made with, as far as they change its answers.

A .zip stores those that were given; the others were the library's defaults, which its version tells. A bare policy.pth
stores none. `served_model.policy` states what the file does not say; where the file says it too, both must agree.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from errors import BuildError
from handlers.policy_network import ACTIVATIONS
from settings.schema.served_model import PolicySettings

ACTIVATION = re.compile(r"<class 'torch\.nn\.modules\.activation\.(\w+)'>")
EXTRACTORS = ("FlattenExtractor", "NatureCNN", "CombinedExtractor")
EXTRACTOR = re.compile(rf"<class 'stable_baselines3\.common\.torch_layers\.(?:{'|'.join(EXTRACTORS)})'>")
OLDEST, NEWEST = (1, 0), (2, 9)
"""Releases of Stable-Baselines3 whose defaults are known here: they are the same in all of these."""

NO_MATTER = frozenset(
    {
        *("net_arch", "share_features_extractor", "n_critics", "n_quantiles", "batch_norm", "batch_norm_momentum"),
        *("features_extractor_kwargs", "optimizer_class", "optimizer_kwargs", "ortho_init", "renorm_warmup_steps"),
        *("log_std_init", "full_std", "use_expln", "use_sde", "sde_net_arch", ":type:", ":serialized:"),
    }
)
"""What the tensors show as well, or what only training and noise need."""
READ = frozenset(
    {"activation_fn", "features_extractor_class", "squash_output", "normalize_images", "clip_mean", "batch_norm_eps"}
)


@dataclass(frozen=True)
class Arguments:
    """`stored` are the policy_kwargs of a .zip, {} where none were given, and None for a bare policy.pth.

    `version` is the library's as the .zip names it, `stated` what the YAML says.
    """

    stored: Mapping[str, Any] | None
    version: str | None
    stated: PolicySettings

    def __post_init__(self) -> None:
        """Raise BuildError for an argument whose effect is not known here."""
        if unknown := sorted(set(self.stored or {}) - NO_MATTER - READ):
            raise BuildError(f"policy_kwargs holds {unknown[0]}, whose effect on the actions is not known here")

    def says(self, name: str) -> bool:
        """Say whether an argument is stored, a known default, or stated in the YAML."""
        stored = "activation_fn" if name == "activation" else name
        return getattr(self.stated, name) is not None or self._in_file(stored, True) is not None

    def unstated(self, **examples: Any) -> BuildError:
        """Make the error that shows what to write into the YAML; the values are examples."""
        words = ", ".join(f"{name}: {_yaml(example)}" for name, example in examples.items())
        return BuildError(
            f"{self._reason}, and {', '.join(examples)} decide{'s' if len(examples) == 1 else ''} the actions: state "
            "what it was trained with in the model's YAML file, written like this (the values are only an example): "
            f"policy: {{{words}}}"
        )

    def activation(self, default: str, layers: Sequence[object]) -> str:
        """Return the name of the activation in torch.nn; one layer alone has none, and gets the default's.

        Raises BuildError for one that is not a plain class of torch.nn.
        """
        if len(layers) == 1:
            return default
        found = self._in_file("activation_fn", default)
        if found is not None and (match := ACTIVATION.fullmatch(str(found))) is not None:
            found = match[1]
        activation = self._agreed("activation", found, default)
        if activation not in ACTIVATIONS:
            raise BuildError(f"the activation {activation} is not read; of torch.nn are {', '.join(ACTIVATIONS)}")
        return str(activation)

    def flag(self, name: str, default: bool) -> bool:
        """Return a yes or no, stored as JSON or as Python's text. Raises BuildError for anything else."""
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
        """Raise BuildError for a feature extractor of the user's own, whose code is not in the file."""
        text = str((self.stored or {}).get("features_extractor_class", ""))
        if text and EXTRACTOR.fullmatch(text) is None:
            raise BuildError(
                f"the feature extractor {text} is not read: its code could only be unpickled; "
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


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return f'"{text}"' if set(text) & set("([{,:'") else text
