"""SAC, and TQC and CrossQ of sb3-contrib, whose actors are SAC's.

Tensors: actor.latent_pi.N, actor.mu (actor.mu.0 with gSDE), actor.log_std, critics. CrossQ has batch renormalisations
among the layers.
"""

from dataclasses import replace

import torch

from errors import BuildError
from serialize.sb3 import distributions
from serialize.sb3.actor import Actor
from serialize.sb3.extractors import read_extractor
from serialize.sb3.layers import Layer, layer, network
from serialize.sb3.read import Checkpoint
from serialize.sb3.spaces import Box

EXTRACTOR = "actor.features_extractor"
TRAINING = ("critic.", "critic_target.", "log_ent_coef", "actor.sde_features_extractor.")


def read(checkpoint: Checkpoint) -> Actor:
    """Read mean and spread of the actor, squashed onto the action space."""
    tensors, arguments = checkpoint.tensors, checkpoint.arguments
    tensors.leave_out(*TRAINING)
    # With gSDE the mean may be bounded by a Hardtanh behind the linear layer, which so becomes the first of two.
    bounded = "actor.mu.0.weight" in tensors
    gsde = "actor.log_std" in tensors
    *hidden, mean = network(tensors, "actor.latent_pi", last="actor.mu.0" if bounded else "actor.mu")
    if gsde:
        tensors.leave_out("actor.log_std")  # only noise is drawn with it
        layers = (*hidden, mean)
    else:
        layers = (*hidden, _with_spread(mean, layer(tensors, "actor.log_std")))
    renormed = any(each.renorm is not None for each in layers)
    observation, action = checkpoint.spaces(
        EXTRACTOR,
        layers,
        f"Box(-1.0, 1.0, ({mean.outputs},), float32)",
        activation="ReLU",
        **({"clip_mean": 2.0} if bounded else {}),
        **({"batch_norm_eps": 0.001} if renormed else {}),
    )
    if not isinstance(action, Box):
        raise BuildError(f"its action space is {action}, and an actor with a spread needs a Box")
    return Actor(
        observation=observation,
        action=action,
        encoder=read_extractor(checkpoint, observation, EXTRACTOR),
        layers=layers,
        activation=arguments.activation("ReLU", layers),
        distribution=distributions.none(distributions.GSDE) if gsde else {"type": "gaussian", "squash": True},
        limit=arguments.number("clip_mean", default=2.0) if bounded else None,
        squash=True,
        epsilon=arguments.number("batch_norm_eps", default=0.001) if renormed else None,
    )


def _with_spread(mean: Layer, log_std: Layer) -> Layer:
    """One layer that gives the means and, behind them, the logarithms of the spreads."""
    if mean.weight.shape != log_std.weight.shape:
        raise BuildError("actor.mu and actor.log_std do not have the same shape")
    weight, bias = torch.cat([mean.weight, log_std.weight]), torch.cat([mean.bias, log_std.bias])
    return replace(mean, weight=weight, bias=bias)
