"""SAC: Stable-Baselines3's SACPolicy. Tensors: actor.latent_pi.N, actor.mu (actor.mu.0 with gSDE), critics."""

import torch

from errors import BuildError
from serialize.sb3 import distributions
from serialize.sb3.actor import Actor
from serialize.sb3.extractors import read_extractor
from serialize.sb3.kwargs import activation, number
from serialize.sb3.layers import Layer, check_known, layer, sequence
from serialize.sb3.read import Checkpoint


def matches(checkpoint: Checkpoint) -> bool:
    """Whether the actor has a spread of its own."""
    return any(name.startswith("actor.log_std") for name in checkpoint.state)


def read(checkpoint: Checkpoint) -> Actor:
    """Mean and spread of the actor, squashed onto the action space."""
    state, kwargs = checkpoint.state, checkpoint.policy_kwargs
    known = ("actor.latent_pi.", "actor.mu.", "actor.log_std", "actor.features_extractor.")
    check_known(state, (*known, "critic.", "critic_target.", "log_ent_coef"))
    if checkpoint.observation is None or checkpoint.action is None:
        raise BuildError("a bare policy.pth has no bounds to scale its actions to; give the .zip that save() wrote")
    # With gSDE the mean is bounded by a Hardtanh behind the linear layer, which so becomes the first of two.
    gsde = "actor.mu.0.weight" in state or "actor.log_std.weight" not in state
    bounded = "actor.mu.0.weight" in state
    mean = layer(state, "actor.mu.0" if bounded else "actor.mu")
    last = mean if gsde else _with_spread(mean, layer(state, "actor.log_std"))
    return Actor(
        observation=checkpoint.observation,
        action=checkpoint.action,
        encoder=read_extractor(checkpoint, checkpoint.observation, "actor.features_extractor"),
        layers=(*sequence(state, "actor.latent_pi"), last),
        activation=activation(kwargs, default="ReLU"),
        distribution=distributions.none(distributions.GSDE) if gsde else {"type": "gaussian", "squash": True},
        limit=number(kwargs, "clip_mean", default=2.0) if bounded else None,
        squash=True,
    )


def _with_spread(mean: Layer, log_std: Layer) -> Layer:
    """One layer that gives the means and, behind them, the logarithms of the spreads."""
    if mean[0].shape != log_std[0].shape:
        raise BuildError("actor.mu and actor.log_std do not have the same shape")
    return torch.cat([mean[0], log_std[0]]), torch.cat([mean[1], log_std[1]])
