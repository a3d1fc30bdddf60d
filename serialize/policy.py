"""A policy: Stable-Baselines3 checkpoint or random weights → Source."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from errors import BuildError
from handlers import networks
from serialize.sb3 import Actor, read_actor
from serialize.sb3.spaces import Box, Discrete, MultiDiscrete, unbounded_box
from serialize.source import Source
from settings.schema import PolicyModel

SEED = 0
HIDDEN = 64  # Stable-Baselines3's own default, twice


def read_policy(model: PolicyModel, checkpoint: Path | None) -> Source:
    """The network that acts, from `checkpoint`, or with seeded random weights for None.

    Raises BuildError when the checkpoint cannot be read safely, or `fields` or `actions` do not fit it.
    """
    actor = read_actor(checkpoint) if checkpoint else _random(model)
    _check_names(model, actor)
    spec = _spec(actor)
    network = networks.build(spec)
    state = network.state_dict()
    for number, (weight, bias) in enumerate(actor.layers):
        # Every other module is an activation.
        state[f"layers.{2 * number}.weight"], state[f"layers.{2 * number}.bias"] = weight, bias
    network.load_state_dict(state)
    observation = actor.observation.as_box()
    dtype = torch.uint8 if observation.is_picture else torch.float32
    return Source(
        network=network,
        spec=spec,
        card=_card(model, actor) | {"network": spec},
        example=torch.zeros((2, *observation.shape), dtype=dtype),
        input_name="observation",
        output_name="action" if isinstance(actor.action, Box) else "logits",
    )


def _spec(actor: Actor) -> dict[str, Any]:
    encoding: dict[str, Any] = {"encoding": "flatten", "scale": actor.scale}
    if isinstance(actor.observation, Discrete | MultiDiscrete):
        encoding = {"encoding": "one_hot", "sizes": actor.observation.sizes}
    head: dict[str, Any] = {"type": "logits"}
    if isinstance(action := actor.action, Box):
        low, high = list(action.low), list(action.high)
        head = {"type": "box", "shape": list(action.shape), "low": low, "high": high}
        head |= {"limit": actor.limit, "squash": actor.squash}
    widths, activation = actor.widths, actor.activation
    return {"type": "policy", "observation": encoding, "widths": widths, "activation": activation, "head": head}


def _card(model: PolicyModel, actor: Actor) -> dict[str, Any]:
    space = actor.observation.as_box().card()
    return {
        "observation": {"fields": model.fields, "space": space, "out_of_range": model.out_of_range},
        "action": {"space": actor.action.card(), "names": model.actions},
    }


def _check_names(model: PolicyModel, actor: Actor) -> None:
    shape = actor.observation.as_box().shape
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
        (torch.randn(outputs, inputs, generator=generator) / inputs**0.5, torch.zeros(outputs))
        for inputs, outputs in pairwise(widths)
    )
    return Actor(unbounded_box(len(model.fields)), Discrete(len(model.actions)), layers, "Tanh")
