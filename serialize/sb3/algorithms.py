"""The registry of policies: the module of a policy's class, or the names of its tensors, says which reader it takes."""

import logging
from collections.abc import Callable
from pathlib import Path

from errors import BuildError
from serialize.sb3 import actor_critic, deterministic_actor, maskable, q_network, quantile_network, squashed_actor
from serialize.sb3.actor import Actor
from serialize.sb3.layers import Tensors
from serialize.sb3.read import Checkpoint, read_checkpoint
from settings.schema import PolicyModel

logger = logging.getLogger(__name__)

Reader = Callable[[Checkpoint], Actor]

# Where a .zip says that the policy's class comes from.
MODULES: dict[str, Reader] = {
    "stable_baselines3.common.policies": actor_critic.read,  # PPO, A2C and TRPO
    "stable_baselines3.dqn.policies": q_network.read,
    "stable_baselines3.sac.policies": squashed_actor.read,
    "stable_baselines3.td3.policies": deterministic_actor.read,  # TD3 and DDPG
    "sb3_contrib.common.maskable.policies": maskable.read,
    "sb3_contrib.qrdqn.policies": quantile_network.read,
    "sb3_contrib.tqc.policies": squashed_actor.read,
    "sb3_contrib.crossq.policies": squashed_actor.read,
}
LIBRARIES = ("stable_baselines3", "sb3_contrib")
NAMES = "PPO, A2C, DQN, SAC, TD3 and DDPG, MaskablePPO, QR-DQN, TQC, TRPO and CrossQ"

# A tensor that a bare policy.pth of a kind has; the first that fits reads: SAC has an `actor.mu` as TD3 has.
TENSORS: tuple[tuple[str, Reader], ...] = (
    ("action_net.weight", actor_critic.read),
    ("q_net.q_net.", q_network.read),
    ("quantile_net.quantile_net.", quantile_network.read),
    ("actor.log_std", squashed_actor.read),
    ("actor.mu.", deterministic_actor.read),
)


def read_actor(path: Path, model: PolicyModel) -> Actor:
    """Read the actor of a Stable-Baselines3 .zip or policy.pth, of which `model` states what the file does not say.

    Raises BuildError, naming the file and what is wrong.
    """
    try:
        checkpoint = read_checkpoint(path, model)
        actor = _reader(checkpoint)(checkpoint)
        checkpoint.tensors.check_all_read()
        actor.check()
    except BuildError as error:
        words = str(error)
        raise BuildError(words if words.startswith(f"{path}: ") else f"{path}: {words}") from None
    if checkpoint.tensors.left_out:
        logger.info("%s: left out, as only training needs it: %s", path, ", ".join(checkpoint.tensors.left_out))
    return actor


def _reader(checkpoint: Checkpoint) -> Reader:
    module = checkpoint.module
    if module is None:
        return _by_tensors(checkpoint.tensors)
    if module in MODULES:
        return MODULES[module]
    if module.partition(".")[0] in LIBRARIES:
        raise BuildError(f"its policy is one of {module}, which is not read; policies of {NAMES} are")
    # The methods of a class may do anything with the same tensors, and they are in the file as a pickle only.
    raise BuildError(
        f"the policy's class is one of {module}, whose code could only be unpickled; where it computes actions as the "
        "library's own class does, give torch.save(model.policy.state_dict(), FILE) and state the rest in "
        "served_model.policy"
    )


def _by_tensors(tensors: Tensors) -> Reader:
    for prefix, reader in TENSORS:
        if tensors.names(prefix):
            return reader
    raise BuildError(f"no policy of {NAMES} has tensors named {', '.join(tensors.names('')[:3])}")
