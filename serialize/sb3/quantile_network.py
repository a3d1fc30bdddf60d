"""QR-DQN of sb3-contrib. Tensors: quantile_net.quantile_net.N and its target, which only training needs.

The last layer gives some quantiles of each action's value, [quantiles, actions]; `predict` takes the action with the
largest mean of them. A mean of linear outputs is a linear output: it is put into the layer.
"""

from errors import BuildError
from serialize.sb3 import distributions
from serialize.sb3.actor import Actor
from serialize.sb3.extractors import read_extractor
from serialize.sb3.kwargs import activation
from serialize.sb3.layers import Layer, check_known, sequence
from serialize.sb3.read import Checkpoint
from serialize.sb3.spaces import Discrete

PREFIX = "quantile_net.quantile_net"


def matches(checkpoint: Checkpoint) -> bool:
    """Whether there is a `quantile_net`."""
    return any(name.startswith(f"{PREFIX}.") for name in checkpoint.state)


def read(checkpoint: Checkpoint) -> Actor:
    """The network of the mean values."""
    check_known(checkpoint.state, (f"{PREFIX}.", "quantile_net.features_extractor.", "quantile_net_target."))
    if checkpoint.observation is None or not isinstance(checkpoint.action, Discrete):
        raise BuildError("a bare policy.pth does not tell quantiles from actions; give the .zip that save() wrote")
    *hidden, last = sequence(checkpoint.state, PREFIX)
    return Actor(
        observation=checkpoint.observation,
        action=checkpoint.action,
        encoder=read_extractor(checkpoint, checkpoint.observation, "quantile_net.features_extractor"),
        layers=(*hidden, _mean(last, checkpoint.action.n)),
        activation=activation(checkpoint.policy_kwargs, default="ReLU"),
        distribution=distributions.epsilon_greedy(checkpoint),
    )


def _mean(last: Layer, actions: int) -> Layer:
    weight, bias = last
    if bias.shape[0] % actions:
        raise BuildError(f"the network gives {bias.shape[0]} values, no multiple of its {actions} actions")
    parts = weight.double().reshape(-1, actions, weight.shape[1]), bias.double().reshape(-1, actions)
    return parts[0].mean(dim=0).float(), parts[1].mean(dim=0).float()
