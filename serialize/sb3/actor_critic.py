"""PPO and A2C (and what shares their network): Stable-Baselines3's ActorCriticPolicy.

Tensors: [pi_|vf_]features_extractor, mlp_extractor.[shared_net|policy_net|value_net].N, action_net, value_net, log_std.
"""

import logging
from collections.abc import Sequence

from errors import BuildError
from serialize.sb3 import distributions
from serialize.sb3.actor import Actor
from serialize.sb3.extractors import read_extractor
from serialize.sb3.kwargs import activation, flag
from serialize.sb3.layers import Layer, check_known, layer, sequence
from serialize.sb3.read import Checkpoint
from serialize.sb3.spaces import ActionSpace, Box, Discrete, unbounded_box

logger = logging.getLogger(__name__)

TENSORS = (
    *("mlp_extractor.shared_net.", "mlp_extractor.policy_net.", "mlp_extractor.value_net."),
    *("features_extractor.", "pi_features_extractor.", "vf_features_extractor."),
    *("action_net.", "value_net.", "log_std"),
)


def matches(checkpoint: Checkpoint) -> bool:
    """Whether there is an `action_net`."""
    return "action_net.weight" in checkpoint.state


def read(checkpoint: Checkpoint) -> Actor:
    """The policy half; of a bare policy.pth, with the spaces that its tensors show."""
    state, kwargs = checkpoint.state, checkpoint.policy_kwargs
    check_known(state, TENSORS)
    # shared_net: layers for both halves, in versions before 2.0.
    layers = (
        *sequence(state, "mlp_extractor.shared_net"),
        *sequence(state, "mlp_extractor.policy_net"),
        layer(state, "action_net"),
    )
    observation = checkpoint.observation or unbounded_box(layers[0][0].shape[1])
    action = checkpoint.action or _guess_action(checkpoint, layers)
    spread = state.get("log_std")
    if isinstance(action, Box) and spread is None:
        raise BuildError("has no log_std, and a Box of actions needs one")
    # With gSDE there is one spread for each feature of the last layer and each action.
    gsde = spread is not None and spread.ndim == 2
    squash = flag(kwargs, "squash_output", default=False)
    if squash and not gsde:
        raise BuildError("squash_output is for policies that explore with gSDE")
    return Actor(
        observation=observation,
        action=action,
        # Where both halves have an extractor of their own, the policy's; `features_extractor` is the shared one.
        encoder=read_extractor(checkpoint, observation, "pi_features_extractor", "features_extractor"),
        layers=layers,
        activation=activation(kwargs, default="Tanh"),
        distribution=distributions.actor_critic(action, gsde=gsde),
        log_std=None if spread is None or gsde else tuple(float(value) for value in spread.flatten().tolist()),
        squash=squash,
    )


def _guess_action(checkpoint: Checkpoint, layers: Sequence[Layer]) -> ActionSpace:
    width = layers[-1][1].shape[0]
    if "log_std" in checkpoint.state:
        logger.warning("a bare policy.pth has no bounds of its actions: they are not clipped")
        return unbounded_box(width)
    return Discrete(width)
