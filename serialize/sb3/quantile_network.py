"""QR-DQN of sb3-contrib. Tensors: quantile_net.quantile_net.N and its target, which only training needs.

The last layer gives some quantiles of each action's value, [quantiles, actions]; `predict` takes the action with the
largest mean of them. A mean of linear outputs is a linear output: it is put into the layer.
"""

from dataclasses import replace

from errors import BuildError
from serialize.sb3 import distributions
from serialize.sb3.actor import Actor
from serialize.sb3.extractors import read_extractor
from serialize.sb3.layers import Layer, network
from serialize.sb3.read import Checkpoint
from serialize.sb3.spaces import Discrete

EXTRACTOR = "quantile_net.features_extractor"


def read(checkpoint: Checkpoint) -> Actor:
    """Read the network of the mean values."""
    tensors, arguments = checkpoint.tensors, checkpoint.arguments
    tensors.leave_out("quantile_net_target.")
    *hidden, last = layers = network(tensors, "quantile_net.quantile_net")
    observation, action = checkpoint.spaces(EXTRACTOR, layers, "Discrete(4)", activation="ReLU")
    if not isinstance(action, Discrete):
        raise BuildError(f"its action space is {action}, and QR-DQN needs a Discrete one")
    return Actor(
        observation=observation,
        action=action,
        encoder=read_extractor(checkpoint, observation, EXTRACTOR),
        layers=(*hidden, _mean(last, action.n)),
        activation=arguments.activation("ReLU", layers),
        distribution=distributions.epsilon_greedy(checkpoint),
    )


def _mean(last: Layer, actions: int) -> Layer:
    if last.outputs % actions:
        raise BuildError(f"the network gives {last.outputs} values, no multiple of its {actions} actions")
    weight, bias = last.weight.double().reshape(-1, actions, last.inputs), last.bias.double().reshape(-1, actions)
    return replace(last, weight=weight.mean(dim=0).float(), bias=bias.mean(dim=0).float())
