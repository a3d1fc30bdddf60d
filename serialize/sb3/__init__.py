"""Stable-Baselines3 checkpoints, read without unpickling anything.

    policy.zip, policy.pth ──policy_file──▶ Checkpoint ──algorithms──▶ Actor
                                │
                          stored_spaces ──▶ observation and action space

The module of the policy's class, or the names of its tensors, selects the reader. A new kind of network is one function
in algorithms and one entry in each of the two tables below.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from errors import BuildError
from serialize.sb3.actor import Actor
from serialize.sb3.algorithms import (
    actor_critic,
    deterministic_actor,
    maskable,
    q_network,
    quantile_network,
    squashed_actor,
)
from serialize.sb3.policy_file import Checkpoint, Tensors, read_checkpoint
from settings.schema import PolicyModel

__all__ = ["Actor", "read_actor"]

logger = logging.getLogger(__name__)

PolicyReader = Callable[[Checkpoint], Actor]

# The module of the policy's class, which a .zip stores.
MODULES: dict[str, PolicyReader] = {
    "stable_baselines3.common.policies": actor_critic,  # PPO, A2C and TRPO
    "stable_baselines3.dqn.policies": q_network,
    "stable_baselines3.sac.policies": squashed_actor,
    "stable_baselines3.td3.policies": deterministic_actor,  # TD3 and DDPG
    "sb3_contrib.common.maskable.policies": maskable,
    "sb3_contrib.qrdqn.policies": quantile_network,
    "sb3_contrib.tqc.policies": squashed_actor,
    "sb3_contrib.crossq.policies": squashed_actor,
}
LIBRARIES = ("stable_baselines3", "sb3_contrib")
NAMES = "PPO, A2C, DQN, SAC, TD3 and DDPG, MaskablePPO, QR-DQN, TQC, TRPO and CrossQ"

# A tensor that a bare policy.pth of a kind has. The first match counts, because SAC has an `actor.mu` like TD3.
TENSORS: tuple[tuple[str, PolicyReader], ...] = (
    ("action_net.weight", actor_critic),
    ("q_net.q_net.", q_network),
    ("quantile_net.quantile_net.", quantile_network),
    ("actor.log_std", squashed_actor),
    ("actor.mu.", deterministic_actor),
)


def read_actor(path: Path, model: PolicyModel) -> Actor:
    """Read the actor of a .zip or policy.pth; `model` states what the file does not contain.

    Raises BuildError, which names the file and the problem.
    """
    try:
        checkpoint = read_checkpoint(path, model)
        actor = _reader(checkpoint)(checkpoint)
        checkpoint.tensors.check_all_read()
        actor.check()
    except BuildError as error:
        message = str(error)
        raise BuildError(message if message.startswith(f"{path}: ") else f"{path}: {message}") from None
    if checkpoint.tensors.left_out:
        logger.info("%s: left out, as only training needs it: %s", path, ", ".join(checkpoint.tensors.left_out))
    return actor


def _reader(checkpoint: Checkpoint) -> PolicyReader:
    module = checkpoint.module
    if module is None:
        return _by_tensors(checkpoint.tensors)
    if module in MODULES:
        return MODULES[module]
    if module.partition(".")[0] in LIBRARIES:
        raise BuildError(f"its policy is one of {module}, which is not supported; policies of {NAMES} are")
    # The methods of a class may do anything with the same tensors, and the file holds them only as a pickle.
    raise BuildError(
        f"the policy's class is one of {module}, whose code could only be unpickled; where it computes actions as the "
        "library's own class does, give torch.save(model.policy.state_dict(), FILE) and state the rest in "
        "served_model.policy"
    )


def _by_tensors(tensors: Tensors) -> PolicyReader:
    for prefix, reader in TENSORS:
        if tensors.names(prefix):
            return reader
    raise BuildError(f"no policy of {NAMES} has tensors named {', '.join(tensors.names('')[:3])}")
