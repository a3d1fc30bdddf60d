"""A policy as the edge compiles it: layers, spaces and bounds, out of an archive. What cannot be compiled says why."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from archive import Archive, Trusted
from edge import weights
from errors import EdgeError
from handlers.card import Observation
from handlers.policy_network import ACTIVATIONS
from handlers.section import Section
from handlers.spaces import ActionSpace, Box, action_space, box

Layer = tuple[NDArray[np.float32], NDArray[np.float32]]  # weight [outputs, inputs], bias [outputs]

# What the edge knows of a card; any other key asks for something that it would pass over.
KNOWN = {
    "": {
        *("schema_version", "model_name", "kind", "description", "weights", "artifact", "request_params", "threads"),
        *("observation", "action", "network", "parity", "provenance"),
        "limits",  # of pictures and of requests of many; the edge answers one observation
    },
    "artifact": {"format", "runtime", "file", "network", "opset"},
    "observation": {"fields", "space", "out_of_range"},
    "observation.space": {"type", "shape", "dtype", "low", "high"},
    # Of its distribution the edge gives the likeliest action, which is what an answer is unless a request asks else.
    "action": {"space", "names", "distribution"},
    "action.space": {"type", "n", "start", "nvec", "shape", "dtype", "low", "high"},
}
KNOWN_OF_NETWORK = {
    "": {"type", "observation", "widths", "activation", "head"},
    "observation": {"encoding", "scale", "sizes", "normalization"},
    "head": {"type", "shape", "low", "high", "limit", "squash", "log_std"},
}
ENCODINGS, HEADS = ("flatten", "one_hot"), ("logits", "box", "gaussian")


@dataclass(frozen=True, eq=False)
class Normalization:
    """Mean and spread of each number of an observation, in float64, and how far from 0 it goes afterwards."""

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    clip: float

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> "Normalization":
        """Out of a description as handlers.policy_encoders reads it."""
        spread = np.sqrt(np.array(figures["var"], dtype=np.float64) + figures["epsilon"])
        return cls(np.array(figures["mean"], dtype=np.float64), spread, float(figures["clip"]))


NOT_COMPILED = {"nature_cnn": "sees pictures through convolutions", "combined": "sees observations of several parts"}

LARGEST = 4_000_000
"""Weights of the largest network that is compiled: 16 MB of constants, which a compiler takes a minute for."""


@dataclass(frozen=True, eq=False)
class Policy:
    """One policy, ready to be written as a program.

    `one_hot` are the sizes of the codes that whole numbers become; None where the observation is taken as it is,
    normalised or divided by `scale`. `limit` and `squash` are those of handlers.policy_network.BoxHead.
    """

    model: str
    version: str
    weights: str
    observation: Observation
    action: ActionSpace
    layers: tuple[Layer, ...]
    activation: str
    scale: float
    normalization: Normalization | None
    one_hot: tuple[int, ...] | None
    limit: float | None
    squash: bool

    @property
    def space(self) -> Box:
        """Of the observations, which `read_policy` has seen to be a box."""
        assert isinstance(self.observation.space, Box)
        return self.observation.space

    @property
    def size(self) -> int:
        """Numbers in one observation."""
        return math.prod(self.space.shape)

    @property
    def outputs(self) -> int:
        """Numbers that the network gives."""
        return len(self.layers[-1][1])

    def raw(self, observations: NDArray[np.float64]) -> NDArray[np.float64]:
        """The network's last layer for observations [N, size], in float64: [N, outputs]."""
        import torch

        values = torch.from_numpy(self._encoded(observations))
        activate = getattr(torch.nn, self.activation)()
        for number, (weight, bias) in enumerate(self.layers):
            linear = torch.from_numpy(weight).double(), torch.from_numpy(bias).double()
            values = torch.nn.functional.linear(values if number == 0 else activate(values), *linear)
        return cast("NDArray[np.float64]", values.numpy())

    def _encoded(self, observations: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.normalization is not None:
            wide = (observations - self.normalization.mean) / self.normalization.spread
            clipped = np.clip(wide, -self.normalization.clip, self.normalization.clip)
            return clipped.astype(np.float32).astype(np.float64)
        if self.one_hot is None:
            return observations / self.scale
        codes = [observations[:, [at]] == np.arange(size) for at, size in enumerate(self.one_hot)]
        return np.concatenate(codes, axis=1).astype(np.float64)


def read_policy(archive: Trusted) -> Policy:
    """The policy in an archive. Raises EdgeError with the reason why it cannot be compiled."""
    card = archive.card
    if card.get("kind") != "policy":
        raise EdgeError(f"{archive.model_name} cannot be compiled: it is a {card.get('kind')} model, not a policy")
    try:
        return _policy(archive, _spec(archive))
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise EdgeError(f"{archive.model_name} cannot be compiled: {error}") from None


def _spec(archive: Archive) -> Mapping[str, Any]:
    spec = archive.card.get("network") or archive.card["artifact"].get("network")
    if not isinstance(spec, Mapping):
        raise ValueError("its card does not describe the network; build the archive anew with `make generate_mar`")
    if spec.get("type") != "policy":
        raise ValueError(f"its network is of type {spec.get('type')}, and only layers one after the other are compiled")
    if (reason := NOT_COMPILED.get(spec["observation"]["encoding"])) is not None:
        raise ValueError(f"it {reason}, which is not compiled")
    _check_keys(spec, KNOWN_OF_NETWORK, "its network's description")
    if spec["observation"]["encoding"] not in ENCODINGS or spec["head"]["type"] not in HEADS:
        raise ValueError(
            f"its network is a {spec['observation']['encoding']}, {spec['head']['type']} one, not compiled"
        )
    if spec["activation"] not in ACTIVATIONS:
        raise ValueError(f"its activation {spec['activation']} is not known")
    _check_handler(archive)
    return spec


def _check_keys(document: Mapping[str, Any], known: Mapping[str, set[str]], name: str) -> None:
    for path, keys in known.items():
        part: Any = document
        for key in filter(None, path.split(".")):
            part = part.get(key) if isinstance(part, Mapping) else None
        if isinstance(part, Mapping) and (strange := sorted(part.keys() - keys)):
            where = f"{name}, {path}," if path else name
            raise ValueError(f"{where} has {', '.join(strange)}, which is not compiled")


def _check_handler(archive: Archive) -> None:
    """The edge reads and words as the kit's own handler does; another one would be passed over."""
    packed = archive.read(archive.manifest["model"]["handler"])
    ours = Path(__file__).resolve().parent.parent / "handlers" / "policy_handler.py"
    if packed != ours.read_bytes():
        raise ValueError("it has a handler of its own, whose logic is not compiled")


def _policy(archive: Archive, spec: Mapping[str, Any]) -> Policy:
    card = Section(archive.card, "model.json")
    seen = card.section("observation")
    seen.section("space").choice("type", ("box",))
    _check_keys(archive.card, KNOWN, "its card")
    space = box(seen.section("space"))
    if space.dtype.kind == "f" and space.dtype.itemsize not in (4, 8):
        raise ValueError(f"its observations are of type {space.dtype}, in which C does not compare")
    if space.dtype.kind == "f" and space.dtype.itemsize == 8 and space.network_dtype != np.float32:
        raise ValueError("its network does not take float32")
    fields = seen.texts("fields") if seen.values.get("fields") is not None else None
    head, encoding = spec["head"], spec["observation"]
    layers = _without_spreads(weights.read(archive, spec["widths"]), head)
    figures = encoding.get("normalization")
    if sum(weight.size for weight, _ in layers) > LARGEST:
        raise ValueError(f"its network has more than {LARGEST} weights")
    policy = Policy(
        model=archive.model_name,
        version=archive.version,
        weights=archive.card["weights"],
        observation=Observation(space, fields, cast("Any", seen.choice("out_of_range", ("reject", "clip")))),
        action=action_space(card.section("action").section("space")),
        layers=layers,
        activation=spec["activation"],
        scale=float(encoding.get("scale", 1.0)),
        normalization=None if figures is None else Normalization.of(figures),
        one_hot=tuple(encoding["sizes"]) if encoding["encoding"] == "one_hot" else None,
        limit=head.get("limit"),
        squash=bool(head.get("squash", False)),
    )
    _check(policy, spec["widths"])
    return policy


def _without_spreads(layers: tuple[Layer, ...], head: Mapping[str, Any]) -> tuple[Layer, ...]:
    """The layers without those outputs of a gaussian that only drawing needs: the edge answers with the mean."""
    if head["type"] != "gaussian" or head["log_std"] is not None:
        return layers
    weight, bias = layers[-1]
    half = len(bias) // 2
    return (*layers[:-1], (weight[:half], bias[:half]))


def _check(policy: Policy, widths: list[int]) -> None:
    taken = sum(policy.one_hot) if policy.one_hot else policy.size
    if taken != widths[0]:
        raise ValueError(f"its network takes {widths[0]} numbers, its observation gives {taken}")
    for (_, bias), (weight, _) in pairwise(policy.layers):
        if weight.shape[1] != bias.shape[0]:
            raise ValueError("its layers do not fit each other")
    if isinstance(policy.action, Box) and math.prod(policy.action.shape) != policy.outputs:
        raise ValueError("its network's output does not fit the action space")
    if not all(np.isfinite(part).all() for layer in policy.layers for part in layer):
        raise ValueError("its weights are not finite")
