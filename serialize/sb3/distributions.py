"""What the model card says of how an action is drawn where the best one is not wanted."""

from typing import Any

from serialize.sb3.read import Checkpoint
from serialize.sb3.spaces import Box, MultiBinary, Space

GSDE = "its noise depends on the state and is held over many steps (gSDE), so that one state alone has none to draw"
DETERMINISTIC = "TD3 and DDPG have no distribution, they explore with noise from outside"
BARE = "a bare policy.pth does not tell the exploration rate; build from the .zip that save() wrote"


def none(reason: str) -> dict[str, Any]:
    """There is nothing to draw from."""
    return {"type": "none", "reason": reason}


def actor_critic(action: Space, *, gsde: bool) -> dict[str, Any]:
    """The distribution that Stable-Baselines3 makes for an action space (make_proba_distribution)."""
    if gsde:
        return none(GSDE)
    if isinstance(action, Box):
        return {"type": "gaussian", "squash": False}
    return {"type": "bernoulli" if isinstance(action, MultiBinary) else "categorical"}


def epsilon_greedy(checkpoint: Checkpoint) -> dict[str, Any]:
    """DQN's `predict(deterministic=False)`: any action with the chance that training ended with."""
    rate = checkpoint.settings.get("exploration_rate")
    if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 <= rate <= 1:
        return none(BARE)
    return {"type": "epsilon_greedy", "rate": float(rate)}
