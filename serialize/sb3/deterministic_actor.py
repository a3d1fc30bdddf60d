"""TD3 and DDPG: Stable-Baselines3's TD3Policy. Tensors: actor.mu.N, its target, critics."""

from errors import BuildError
from serialize.sb3 import distributions
from serialize.sb3.actor import Actor
from serialize.sb3.extractors import read_extractor
from serialize.sb3.kwargs import activation
from serialize.sb3.layers import check_known, sequence
from serialize.sb3.read import Checkpoint


def matches(checkpoint: Checkpoint) -> bool:
    """Whether there is an actor, and nothing of a spread (that is SAC, which comes before)."""
    return "actor.mu.0.weight" in checkpoint.state


def read(checkpoint: Checkpoint) -> Actor:
    """The actor, whose output is squashed onto the action space."""
    known = ("actor.mu.", "actor.features_extractor.", "actor_target.", "critic.", "critic_target.")
    check_known(checkpoint.state, known)
    if checkpoint.observation is None or checkpoint.action is None:
        raise BuildError("a bare policy.pth has no bounds to scale its actions to; give the .zip that save() wrote")
    return Actor(
        observation=checkpoint.observation,
        action=checkpoint.action,
        encoder=read_extractor(checkpoint, checkpoint.observation, "actor.features_extractor"),
        layers=sequence(checkpoint.state, "actor.mu"),
        activation=activation(checkpoint.policy_kwargs, default="ReLU"),
        distribution=distributions.none(distributions.DETERMINISTIC),
        squash=True,
    )
