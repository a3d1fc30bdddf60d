"""SAC: Stable-Baselines3's SACPolicy. Tensors: actor.latent_pi.N, actor.mu (actor.mu.0 with gSDE), critics."""

from errors import BuildError
from serialize.sb3.actor import Actor
from serialize.sb3.actor_critic import picture_scale
from serialize.sb3.kwargs import activation, check_extractor, number
from serialize.sb3.layers import check_known, layer, sequence
from serialize.sb3.read import Checkpoint


def matches(checkpoint: Checkpoint) -> bool:
    """Whether the actor has a spread of its own."""
    return any(name.startswith("actor.log_std") for name in checkpoint.state)


def read(checkpoint: Checkpoint) -> Actor:
    """The mean of the actor, squashed onto the action space."""
    state, kwargs = checkpoint.state, checkpoint.policy_kwargs
    check_known(
        state, ("actor.latent_pi.", "actor.mu.", "actor.log_std", "critic.qf", "critic_target.qf", "log_ent_coef")
    )
    check_extractor(kwargs)
    if checkpoint.observation is None or checkpoint.action is None:
        raise BuildError("a bare policy.pth has no bounds to scale its actions to; give the .zip that save() wrote")
    # With gSDE the mean is bounded by a Hardtanh behind the linear layer, which so becomes the first of two.
    bounded = "actor.mu.0.weight" in state
    return Actor(
        observation=checkpoint.observation,
        action=checkpoint.action,
        layers=(*sequence(state, "actor.latent_pi"), layer(state, "actor.mu.0" if bounded else "actor.mu")),
        activation=activation(kwargs, default="ReLU"),
        limit=number(kwargs, "clip_mean", default=2.0) if bounded else None,
        squash=True,
        scale=picture_scale(checkpoint.observation, checkpoint),
    )
