"""DQN: Stable-Baselines3's DQNPolicy. Tensors: q_net.q_net.N and its target, which only training needs."""

from serialize.sb3 import distributions
from serialize.sb3.actor import Actor
from serialize.sb3.extractors import read_extractor
from serialize.sb3.kwargs import activation
from serialize.sb3.layers import check_known, sequence
from serialize.sb3.read import Checkpoint
from serialize.sb3.spaces import Discrete, unbounded_box

PREFIX = "q_net.q_net"


def matches(checkpoint: Checkpoint) -> bool:
    """Whether there is a `q_net`."""
    return any(name.startswith(f"{PREFIX}.") for name in checkpoint.state)


def read(checkpoint: Checkpoint) -> Actor:
    """The Q network: the action with the largest value is the one that `predict` takes."""
    check_known(checkpoint.state, (f"{PREFIX}.", "q_net.features_extractor.", "q_net_target."))
    layers = sequence(checkpoint.state, PREFIX)
    observation = checkpoint.observation or unbounded_box(layers[0][0].shape[1])
    return Actor(
        observation=observation,
        action=checkpoint.action or Discrete(layers[-1][1].shape[0]),
        encoder=read_extractor(checkpoint, observation, "q_net.features_extractor"),
        layers=layers,
        activation=activation(checkpoint.policy_kwargs, default="ReLU"),
        distribution=distributions.epsilon_greedy(checkpoint),
    )
