"""PPO and A2C (and what shares their network): Stable-Baselines3's ActorCriticPolicy.

Tensors: mlp_extractor.[shared_net|policy_net|value_net].N, action_net, value_net, log_std.
"""

import logging
from collections.abc import Sequence

from serialize.sb3.actor import Actor, Layer
from serialize.sb3.kwargs import activation, check_extractor, flag
from serialize.sb3.layers import check_known, layer, sequence
from serialize.sb3.read import Checkpoint
from serialize.sb3.spaces import Discrete, Space, unbounded_box

logger = logging.getLogger(__name__)

TENSORS = ("mlp_extractor.shared_net.", "mlp_extractor.policy_net.", "mlp_extractor.value_net.", "action_net.",
           "value_net.", "log_std")  # fmt: skip


def matches(checkpoint: Checkpoint) -> bool:
    """Whether there is an `action_net`."""
    return "action_net.weight" in checkpoint.state


def read(checkpoint: Checkpoint) -> Actor:
    """The policy half; of a bare policy.pth, with the spaces that its tensors show."""
    state, kwargs = checkpoint.state, checkpoint.policy_kwargs
    check_known(state, TENSORS)
    check_extractor(kwargs)
    # shared_net: layers for both halves, in versions before 2.0.
    layers = (
        *sequence(state, "mlp_extractor.shared_net"),
        *sequence(state, "mlp_extractor.policy_net"),
        layer(state, "action_net"),
    )
    observation = checkpoint.observation or unbounded_box(layers[0][0].shape[1])
    return Actor(
        observation=observation,
        action=checkpoint.action or _guess_action(checkpoint, layers),
        layers=layers,
        activation=activation(kwargs, default="Tanh"),
        squash=flag(kwargs, "squash_output", default=False),
        scale=picture_scale(observation, checkpoint),
    )


def picture_scale(observation: Space, checkpoint: Checkpoint) -> float:
    """255 for a picture that the library scales before the network, else 1."""
    scaled = getattr(observation, "is_picture", False) and flag(checkpoint.policy_kwargs, "normalize_images", True)
    return 255.0 if scaled else 1.0


def _guess_action(checkpoint: Checkpoint, layers: Sequence[Layer]) -> Space:
    width = layers[-1][1].shape[0]
    if "log_std" in checkpoint.state:
        logger.warning("a bare policy.pth has no bounds of its actions: they are not clipped")
        return unbounded_box(width)
    return Discrete(width)
