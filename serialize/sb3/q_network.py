"""DQN: Stable-Baselines3's DQNPolicy. Tensors: q_net.q_net.N and its target, which only training needs."""

from dataclasses import replace

from errors import BuildError
from serialize.sb3 import distributions
from serialize.sb3.actor import Actor
from serialize.sb3.extractors import read_extractor
from serialize.sb3.layers import network
from serialize.sb3.read import Checkpoint
from serialize.sb3.spaces import Discrete

EXTRACTOR = "q_net.features_extractor"


def read(checkpoint: Checkpoint) -> Actor:
    """Read the Q network: the action with the largest value is the one that `predict` takes."""
    tensors, arguments = checkpoint.tensors, checkpoint.arguments
    tensors.leave_out("q_net_target.")
    layers = network(tensors, "q_net.q_net")
    # DQN has no other actions than these: their number is the width of the last layer.
    known = replace(checkpoint, action=checkpoint.action or Discrete(layers[-1].outputs))
    observation, action = known.spaces(EXTRACTOR, layers, "", activation="ReLU")
    if not isinstance(action, Discrete):
        raise BuildError(f"its action space is {action}, and DQN needs a Discrete one")
    return Actor(
        observation=observation,
        action=action,
        encoder=read_extractor(checkpoint, observation, EXTRACTOR),
        layers=layers,
        activation=arguments.activation("ReLU", layers),
        distribution=distributions.epsilon_greedy(checkpoint),
    )
