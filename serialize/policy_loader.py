"""Loads a policy: Stable-Baselines3 checkpoint or random weights → LoadedModel."""

import copy
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from errors import BuildError
from handlers import networks
from handlers.spaces import Box, Discrete
from serialize.loaded_model import LoadedModel
from serialize.observation_arrays import NORMALIZATION, normalization_spec, read_normalization
from serialize.sb3 import Actor, read_actor
from serialize.sb3.actor import Layer, plain_encoder
from serialize.sb3.policy_spaces import (
    DictSpace,
    Part,
    Space,
    as_box,
    bound_list,
    parts_of,
    space_card,
    unbounded_box,
    width_of,
)
from settings.schema import PolicyModel
from settings.schema.served_model import NormalizationSettings

SEED = 0
HIDDEN = 64  # Stable-Baselines3's default width, of two hidden layers


def read_policy(model: PolicyModel, checkpoint: Path | None) -> LoadedModel:
    """Load the acting network from `checkpoint`, or create one with seeded random weights for None.

    Raises BuildError if the checkpoint cannot be read safely, or `fields`, `actions` or statistics do not fit it.
    """
    actor = read_actor(checkpoint, model) if checkpoint else _random(model)
    _check_names(model, actor)
    spec = _spec(actor)
    _normalize(spec["observation"], model, actor.observation)
    network = networks.build_network(spec)
    network.load_state_dict(network.state_dict() | _weights(actor))
    return LoadedModel(
        network=network,
        spec=spec,
        card=_card(model, actor) | {"network": spec},
        example=_example(actor.observation),
        input_name="observation",
        output_names=("gaussian" if actor.gaussian else "action" if isinstance(actor.action, Box) else "logits",),
        spaces=(actor.observation, actor.action),
    )


def _weights(actor: Actor) -> dict[str, torch.Tensor]:
    """Return the tensors of handlers.policy_network by name."""
    found = {f"encoder.{name}": tensor for name, tensor in actor.encoder.state.items()}
    # An activation follows each linear layer, and a renormalisation, if there are any, precedes it.
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
    """Return two observations as network input; the parts of a DictSpace are flat, one after the other."""
    if isinstance(space, DictSpace):
        return torch.zeros((2, sum(math.prod(as_box(part).shape) for _, part in space.parts)))
    box = as_box(space)
    return torch.zeros((2, *box.shape), dtype=torch.uint8 if box.is_picture else torch.float32)


def _spec(actor: Actor) -> dict[str, Any]:
    head: dict[str, Any] = {"type": "logits"}
    if isinstance(action := actor.action, Box):
        head = {"type": "box", "shape": list(action.shape), "low": bound_list(action.low)}
        head |= {"high": bound_list(action.high), "limit": actor.limit, "squash": actor.squash}
        if actor.gaussian:
            log_std = None if actor.log_std is None else list(actor.log_std)
            head = {"type": "gaussian", "shape": list(action.shape), "squash": actor.squash, "log_std": log_std}
    encoding, widths, activation = copy.deepcopy(actor.encoder.spec), actor.widths, actor.activation
    spec = {"type": "policy", "observation": encoding, "widths": widths, "activation": activation, "head": head}
    return spec if actor.epsilon is None else spec | {"renorm": {"epsilon": actor.epsilon}}


def _normalize(encoding: dict[str, Any], model: PolicyModel, space: Space) -> None:
    """Add the statistics to the specification of the encoder."""
    statistics = read_normalization(model.observation.normalization)
    if statistics is None:
        return
    if isinstance(space, DictSpace) != isinstance(statistics, dict):
        raise BuildError(f"{NORMALIZATION}: figures by part are for an observation of parts, and only for one")
    if not isinstance(statistics, dict):
        [(_, part)] = parts_of(space)
        _normalize_part(encoding, statistics, part, NORMALIZATION)
        return
    parts = dict(parts_of(space))
    if unknown := sorted(set(statistics) - set(parts)):
        raise BuildError(f"{NORMALIZATION}: the observation has no part {unknown[0]}; its parts are {', '.join(parts)}")
    for (key, part), part_encoding in zip(parts.items(), encoding["parts"], strict=True):
        if key in statistics:
            _normalize_part(part_encoding, statistics[key], part, f"{NORMALIZATION}.{key}")


def _normalize_part(encoding: dict[str, Any], statistics: NormalizationSettings, part: Part, where: str) -> None:
    if not isinstance(part, Box) or encoding["encoding"] != "flatten" or part.is_picture:
        raise BuildError(f"{where}: numbers are normalised; pictures and codes of whole numbers are not")
    encoding["normalization"] = normalization_spec(statistics, width_of(part), where)


def _card(model: PolicyModel, actor: Actor) -> dict[str, Any]:
    space = actor.observation if isinstance(actor.observation, DictSpace) else as_box(actor.observation)
    return {
        "observation": {"fields": model.fields, "space": space_card(space), "out_of_range": model.out_of_range},
        "action": {"space": space_card(actor.action), "names": model.actions, "distribution": actor.distribution},
    }


def _check_names(model: PolicyModel, actor: Actor) -> None:
    if model.fields is not None:
        if isinstance(actor.observation, DictSpace):
            raise BuildError("served_model.fields names numbers, an observation has parts, with names; set it to null")
        shape = as_box(actor.observation).shape
        if shape != (len(model.fields),):
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
    observation, action = unbounded_box(len(model.fields)), Discrete(len(model.actions), 0)
    return Actor(observation, action, plain_encoder(observation), layers, "Tanh", {"type": "categorical"})
