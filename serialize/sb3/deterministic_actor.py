"""TD3 and DDPG: Stable-Baselines3's TD3Policy. Tensors: actor.mu.N, its target, critics."""

from errors import BuildError
from serialize.sb3 import distributions
from serialize.sb3.actor import Actor
from serialize.sb3.extractors import read_extractor
from serialize.sb3.layers import network
from serialize.sb3.read import Checkpoint
from serialize.sb3.spaces import Box

EXTRACTOR = "actor.features_extractor"


def read(checkpoint: Checkpoint) -> Actor:
    """Read the actor, whose output is squashed onto the action space."""
    tensors, arguments = checkpoint.tensors, checkpoint.arguments
    tensors.leave_out("actor_target.", "critic.", "critic_target.")
    layers = network(tensors, "actor.mu")
    observation, action = checkpoint.spaces(
        EXTRACTOR,
        layers,
        f"Box(-1.0, 1.0, ({layers[-1].outputs},), float32)",
        activation="ReLU",
    )
    if not isinstance(action, Box):
        raise BuildError(f"its action space is {action}, and TD3 and DDPG need a Box")
    return Actor(
        observation=observation,
        action=action,
        encoder=read_extractor(checkpoint, observation, EXTRACTOR),
        layers=layers,
        activation=arguments.activation("ReLU", layers),
        distribution=distributions.none(distributions.DETERMINISTIC),
        squash=True,
    )
