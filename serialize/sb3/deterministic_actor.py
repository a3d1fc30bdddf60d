"""TD3 and DDPG: Stable-Baselines3's TD3Policy. Tensors: actor.mu.N, its target, critics."""

from errors import BuildError
from serialize.sb3.actor import Actor
from serialize.sb3.actor_critic import picture_scale
from serialize.sb3.kwargs import activation, check_extractor
from serialize.sb3.layers import check_known, sequence
from serialize.sb3.read import Checkpoint


def matches(checkpoint: Checkpoint) -> bool:
    """Whether there is an actor, and nothing of a spread (that is SAC, which comes before)."""
    return "actor.mu.0.weight" in checkpoint.state


def read(checkpoint: Checkpoint) -> Actor:
    """The actor, whose output is squashed onto the action space."""
    check_known(checkpoint.state, ("actor.mu.", "actor_target.mu.", "critic.qf", "critic_target.qf"))
    check_extractor(checkpoint.policy_kwargs)
    if checkpoint.observation is None or checkpoint.action is None:
        raise BuildError("a bare policy.pth has no bounds to scale its actions to; give the .zip that save() wrote")
    return Actor(
        observation=checkpoint.observation,
        action=checkpoint.action,
        layers=sequence(checkpoint.state, "actor.mu"),
        activation=activation(checkpoint.policy_kwargs, default="ReLU"),
        squash=True,
        scale=picture_scale(checkpoint.observation, checkpoint),
    )
