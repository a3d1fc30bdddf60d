"""A policy: Stable-Baselines3 checkpoint or random weights → LoadedModel."""

import copy
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from errors import BuildError
from handlers import networks
from serialize.loaded_model import LoadedModel
from serialize.normalization import WHERE, read_normalization
from serialize.normalization import spec as normalization_spec
from serialize.sb3 import Actor, read_actor
from serialize.sb3.extractors import plain
from serialize.sb3.layers import Layer
from serialize.sb3.spaces import Box, Dict, Discrete, Part, Space, unbounded_box
from settings.schema import PolicyModel
from settings.schema.served_model import NormalizationSettings

SEED = 0
HIDDEN = 64  # Stable-Baselines3's own default, twice


def read_policy(model: PolicyModel, checkpoint: Path | None) -> LoadedModel:
    """The network that acts, from `checkpoint`, or with seeded random weights for None.

    Raises BuildError when the checkpoint cannot be read safely, or `fields`, `actions` or figures do not fit it.
    """
    actor = read_actor(checkpoint, model) if checkpoint else _random(model)
    _check_names(model, actor)
    spec = _spec(actor)
    _normalize(spec["observation"], model, actor.observation)
    network = networks.build(spec)
    network.load_state_dict(network.state_dict() | _weights(actor))
    return LoadedModel(
        network=network,
        spec=spec,
        card=_card(model, actor) | {"network": spec},
        example=_example(actor.observation),
        input_name="observation",
        output_name="gaussian" if actor.gaussian else "action" if isinstance(actor.action, Box) else "logits",
        spaces=(actor.observation, actor.action),
    )


def _weights(actor: Actor) -> dict[str, torch.Tensor]:
    """The tensors of handlers.policy_network by name."""
    found = {f"encoder.{name}": tensor for name, tensor in actor.encoder.state.items()}
    # Between two linear layers stands an activation, and with renormalisations one of these before each.
    step = 2 if actor.epsilon is None else 3
    for number, layer in enumerate(actor.layers):
        first = step * number
        if layer.renorm is not None:
            parts = {name: getattr(layer.renorm, name) for name in ("mean", "var", "scale", "bias")}
            found |= {f"layers.{first}.{name}": tensor for name, tensor in parts.items()}
            first += 1
        found |= {f"layers.{first}.weight": layer.weight, f"layers.{first}.bias": layer.bias}
    return found


def _example(space: Space) -> torch.Tensor:
    """Two observations as the network takes them; those of several parts lie flat, one part after the other."""
    if isinstance(space, Dict):
        return torch.zeros((2, sum(math.prod(part.as_box().shape) for _, part in space.parts)))
    box = space.as_box()
    return torch.zeros((2, *box.shape), dtype=torch.uint8 if box.holds_bytes else torch.float32)


def _spec(actor: Actor) -> dict[str, Any]:
    head: dict[str, Any] = {"type": "logits"}
    if isinstance(action := actor.action, Box):
        low, high = list(action.low), list(action.high)
        head = {"type": "box", "shape": list(action.shape), "low": low, "high": high}
        head |= {"limit": actor.limit, "squash": actor.squash}
        if actor.gaussian:
            log_std = None if actor.log_std is None else list(actor.log_std)
            head = {"type": "gaussian", "shape": list(action.shape), "squash": actor.squash, "log_std": log_std}
    encoding, widths, activation = copy.deepcopy(actor.encoder.spec), actor.widths, actor.activation
    spec = {"type": "policy", "observation": encoding, "widths": widths, "activation": activation, "head": head}
    return spec if actor.epsilon is None else spec | {"renorm": {"epsilon": actor.epsilon}}


def _normalize(encoding: dict[str, Any], model: PolicyModel, space: Space) -> None:
    """Puts the figures into the description of what stands before the layers."""
    figures = read_normalization(model.observation.normalization)
    if figures is None:
        return
    if isinstance(space, Dict) != isinstance(figures, dict):
        raise BuildError(f"{WHERE}: figures by part are for an observation of parts, and only for one")
    if isinstance(space, Dict) and isinstance(figures, dict):
        if unknown := sorted(set(figures) - set(space.keys)):
            raise BuildError(
                f"{WHERE}: the observation has no part {unknown[0]}; its parts are {', '.join(space.keys)}"
            )
        for (key, part), described in zip(space.parts, encoding["parts"], strict=True):
            if key in figures:
                _normalize_part(described, figures[key], part, f"{WHERE}.{key}")
    elif isinstance(figures, NormalizationSettings) and not isinstance(space, Dict):
        _normalize_part(encoding, figures, space, WHERE)


def _normalize_part(encoding: dict[str, Any], figures: NormalizationSettings, part: Part, where: str) -> None:
    if not isinstance(part, Box) or encoding["encoding"] != "flatten" or part.holds_bytes:
        raise BuildError(f"{where}: numbers are normalised; pictures and codes of whole numbers are not")
    encoding["normalization"] = normalization_spec(figures, part.features, where)


def _card(model: PolicyModel, actor: Actor) -> dict[str, Any]:
    space = actor.observation if isinstance(actor.observation, Dict) else actor.observation.as_box()
    return {
        "observation": {"fields": model.fields, "space": space.card(), "out_of_range": model.out_of_range},
        "action": {"space": actor.action.card(), "names": model.actions, "distribution": actor.distribution},
    }


def _check_names(model: PolicyModel, actor: Actor) -> None:
    if model.fields is not None and isinstance(actor.observation, Dict):
        raise BuildError("served_model.fields names numbers, an observation has parts, with names; set it to null")
    shape = () if isinstance(actor.observation, Dict) else actor.observation.as_box().shape
    if model.fields is not None and shape != (len(model.fields),):
        raise BuildError(
            f"served_model.fields names {len(model.fields)} numbers, an observation has shape {list(shape)}"
        )
    if model.actions is None:
        return
    if not isinstance(actor.action, Discrete):
        raise BuildError("served_model.actions names discrete actions, this policy's are not; set it to null")
    if len(model.actions) != actor.action.n:
        raise BuildError(f"served_model.actions names {len(model.actions)} actions, the policy has {actor.action.n}")


def _random(model: PolicyModel) -> Actor:
    if model.fields is None or model.actions is None:
        raise BuildError("served_model.weights=random needs served_model.fields and .actions: they give the sizes")
    widths = [len(model.fields), HIDDEN, HIDDEN, len(model.actions)]
    generator = torch.Generator().manual_seed(SEED)
    layers = tuple(
        Layer(torch.randn(outputs, inputs, generator=generator) / inputs**0.5, torch.zeros(outputs))
        for inputs, outputs in pairwise(widths)
    )
    observation, action = unbounded_box(len(model.fields)), Discrete(len(model.actions))
    return Actor(observation, action, plain(observation), layers, "Tanh", {"type": "categorical"})
