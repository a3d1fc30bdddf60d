"""MaskablePPO of sb3-contrib: PPO's network, whose requests may say which actions are allowed.

A switch is a choice of two there (MaskableBernoulliDistribution), so that each of both can be forbidden.
"""

from dataclasses import replace

from errors import BuildError
from serialize.sb3 import actor_critic
from serialize.sb3.actor import Actor
from serialize.sb3.read import Checkpoint
from serialize.sb3.spaces import Box, MultiBinary, MultiDiscrete


def read(checkpoint: Checkpoint) -> Actor:
    """Read the policy half, as of PPO."""
    action = checkpoint.action
    if action is None or isinstance(action, Box):
        raise BuildError("MaskablePPO needs discrete actions")
    if isinstance(action, MultiBinary):
        action = MultiDiscrete((2,) * action.outputs)
    actor = actor_critic.read(replace(checkpoint, action=action))
    return replace(actor, distribution={"type": "categorical", "masks": True})
