"""The few of a policy's settings that change its answers, from `policy_kwargs` as text or as JSON."""

import re
from collections.abc import Mapping
from typing import Any

from errors import BuildError
from handlers.policy_network import ACTIVATIONS

PLAIN_ACTIVATION = re.compile(r"<class 'torch\.nn\.modules\.activation\.(\w+)'>")
EXTRACTORS = ("FlattenExtractor", "NatureCNN", "CombinedExtractor")
OWN_EXTRACTOR = re.compile(rf"<class 'stable_baselines3\.common\.torch_layers\.(?:{'|'.join(EXTRACTORS)})'>")


def activation(kwargs: Mapping[str, Any], default: str) -> str:
    """Name of the activation in torch.nn. Raises BuildError for one that is not a plain class of it."""
    if "activation_fn" not in kwargs:
        return default
    text = str(kwargs["activation_fn"])
    match = PLAIN_ACTIVATION.fullmatch(text)
    if match is None or match[1] not in ACTIVATIONS:
        raise BuildError(f"the activation {text} is none that is read: {', '.join(ACTIVATIONS)}")
    return match[1]


def flag(kwargs: Mapping[str, Any], name: str, default: bool) -> bool:
    """A yes or no, stored as JSON or as Python's text."""
    return str(kwargs.get(name, default)) == "True"


def number(kwargs: Mapping[str, Any], name: str, default: float) -> float:
    """A number, stored as JSON or as text."""
    return float(kwargs.get(name, default))


def check_extractor(kwargs: Mapping[str, Any]) -> None:
    """Raises BuildError for a feature extractor of the user's own, whose code is not in the file."""
    if "features_extractor_class" not in kwargs:
        return
    text = str(kwargs["features_extractor_class"])
    if OWN_EXTRACTOR.fullmatch(text) is None:
        raise BuildError(
            f"the feature extractor {text} is not read: its code could only be unpickled; {', '.join(EXTRACTORS)} are"
        )
