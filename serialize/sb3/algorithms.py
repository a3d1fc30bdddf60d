"""The registry of algorithms: which one a checkpoint's tensors belong to, and the actor it leaves."""

from pathlib import Path
from typing import Protocol

from errors import BuildError
from serialize.sb3 import actor_critic, deterministic_actor, maskable, q_network, quantile_network, squashed_actor
from serialize.sb3.actor import Actor
from serialize.sb3.read import Checkpoint, read_checkpoint


class Algorithm(Protocol):
    """A module for policies of one structure."""

    def matches(self, checkpoint: Checkpoint) -> bool:
        """Whether the names of the tensors are this structure's."""

    def read(self, checkpoint: Checkpoint) -> Actor:
        """The part that acts. Raises BuildError for what it cannot rebuild exactly."""


# The first that matches reads: maskable before actor_critic, whose tensors it shares, and SAC before TD3.
ALGORITHMS: tuple[Algorithm, ...] = (
    *(maskable, actor_critic, q_network, quantile_network),
    *(squashed_actor, deterministic_actor),
)


def read_actor(path: Path) -> Actor:
    """The actor in a Stable-Baselines3 .zip or policy.pth. Raises BuildError, naming the file and what is wrong."""
    checkpoint = read_checkpoint(path)
    for algorithm in ALGORITHMS:
        if algorithm.matches(checkpoint):
            try:
                actor = algorithm.read(checkpoint)
                actor.check()
            except BuildError as error:
                raise BuildError(f"{path}: {error}") from None
            return actor
    names, known = ", ".join(list(checkpoint.state)[:3]), "PPO, A2C, DQN, SAC, TD3, DDPG, MaskablePPO or QR-DQN"
    raise BuildError(f"{path}: no policy of {known} has tensors named {names}")
