"""Trains CartPole's policy with Stable-Baselines3's PPO until it balances the pole."""

import logging
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from tqdm import tqdm

from errors import BuildError
from files import replace_durably, staging_folder

logger = logging.getLogger(__name__)

ENVIRONMENT = "CartPole-v1"
TARGET = 490.0  # mean return of 20 episodes, of at most 500
EPISODES = 20
ROUND = 40_960  # steps between two evaluations; 20,000 suffice for some seeds only
ROUNDS = 6
SEED = 0
EVALUATION_SEED = 1000
# The RL Zoo's parameters for CartPole-v1, without their schedules, which assume a fixed number of steps.
PARAMETERS: dict[str, Any] = {
    "n_steps": 32,
    "batch_size": 256,
    "gae_lambda": 0.8,
    "gamma": 0.98,
    "n_epochs": 20,
    "ent_coef": 0.0,
    "learning_rate": 1e-3,
    "clip_range": 0.2,
}


def train_cartpole(target: Path) -> float:
    """Write the policy to `target` by Stable-Baselines3's save(), atomically, and return its mean return.

    Raises BuildError, and writes nothing, when it does not balance the pole in the end.
    """
    environments = make_vec_env(ENVIRONMENT, n_envs=8, seed=SEED)
    model = PPO("MlpPolicy", environments, seed=SEED, device="cpu", **PARAMETERS)
    # Stable-Baselines3's default logger leaves a folder in the temporary folder.
    model.set_logger(Logger(folder=None, output_formats=[]))
    mean = 0.0
    with tqdm(total=ROUND * ROUNDS, desc="cartpole", unit="step") as progress:
        for _ in range(ROUNDS):
            model.learn(ROUND, callback=_Progress(progress), reset_num_timesteps=False)
            mean = evaluate(model)
            progress.set_postfix(mean_return=f"{mean:.1f}")
            if mean >= TARGET:
                break
    logger.info("cartpole: mean return %.1f over %d episodes", mean, EPISODES)
    if mean < TARGET:
        raise BuildError(f"cartpole: mean return {mean:.1f} after {ROUND * ROUNDS} steps, {TARGET:.0f} is expected")
    with staging_folder(target.parent, target.name) as work:
        model.save(work / target.name)
        replace_durably(work / target.name, target)
    return mean


def evaluate(model: PPO, episodes: int = EPISODES) -> float:
    """Return the deterministic policy's mean return over episodes with seeds that the training did not use."""
    returns = []
    environment = gymnasium.make(ENVIRONMENT)
    for episode in range(episodes):
        observation, _ = environment.reset(seed=EVALUATION_SEED + episode)
        total, done = 0.0, False
        while not done:
            action, _ = model.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, _ = environment.step(action)
            total += float(reward)
            done = terminated or truncated
        returns.append(total)
    return float(np.mean(returns))


class _Progress(BaseCallback):
    """Advances the progress bar by the steps of all environments."""

    def __init__(self, progress: "tqdm[Any]") -> None:
        super().__init__()
        self.progress = progress

    def _on_step(self) -> bool:
        self.progress.update(self.training_env.num_envs)
        return True
