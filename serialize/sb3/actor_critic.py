"""PPO, A2C and TRPO (and what shares their network): Stable-Baselines3's ActorCriticPolicy.

Tensors: [pi_|vf_]features_extractor, mlp_extractor.[shared_net|policy_net|value_net].N, action_net, value_net, log_std.
"""

from errors import BuildError
from serialize.sb3 import distributions
from serialize.sb3.actor import Actor
from serialize.sb3.extractors import read_extractor
from serialize.sb3.layers import network
from serialize.sb3.read import Checkpoint
from serialize.sb3.spaces import Box

TRAINING = ("mlp_extractor.value_net.", "value_net.", "vf_features_extractor.", "sde_features_extractor.")
SHARED, OWN = "features_extractor", "pi_features_extractor"


def read(checkpoint: Checkpoint) -> Actor:
    """Read the policy half. Raises BuildError for what it cannot rebuild exactly."""
    tensors, arguments = checkpoint.tensors, checkpoint.arguments
    tensors.leave_out(*TRAINING)
    # shared_net: layers for both halves, in versions before 2.0.
    layers = network(tensors, "mlp_extractor.shared_net", "mlp_extractor.policy_net", last="action_net")
    # Since 1.7 the policy's own extractor is stored under both names.
    extractor = OWN if tensors.names(f"{OWN}.") else SHARED
    if extractor == OWN:
        tensors.leave_out_copies(f"{OWN}.", f"{SHARED}.")
    gaussian = "log_std" in tensors
    # With gSDE there is one spread for each feature of the last layer and each action, or one for all actions.
    gsde = gaussian and len(tensors.shape("log_std")) == 2
    log_std = None
    if gsde:
        tensors.leave_out("log_std")  # only noise is drawn with it
    elif gaussian:
        log_std = tuple(tensors.read("log_std").flatten().tolist())
    width = layers[-1].outputs
    observation, action = checkpoint.spaces(
        extractor,
        layers,
        f"Box(-1.0, 1.0, ({width},), float32)" if gaussian else f"Discrete({width})",
        activation="Tanh",
        **({"squash_output": False} if gsde else {}),
    )
    if isinstance(action, Box) != gaussian:
        raise BuildError(f"its action space is {action}, and it has {'a' if gaussian else 'no'} log_std")
    if not gsde and arguments.says("squash_output") and arguments.flag("squash_output", default=False):
        raise BuildError("squash_output is for policies that explore with gSDE")
    return Actor(
        observation=observation,
        action=action,
        encoder=read_extractor(checkpoint, observation, extractor),
        layers=layers,
        activation=arguments.activation("Tanh", layers),
        distribution=distributions.actor_critic(action, gsde=gsde),
        log_std=log_std,
        squash=gsde and arguments.flag("squash_output", default=False),
    )
