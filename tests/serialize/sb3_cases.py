"""The policies whose answers are held against Stable-Baselines3's own `predict`: every algorithm and space."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib import QRDQN, TQC, TRPO, CrossQ, MaskablePPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm

from tests.serialize.sb3_models import Space, box, stored_in_short

nn = torch.nn
CARTPOLE = box([-4.8, -np.inf, -0.42, -np.inf], [4.8, np.inf, 0.42, np.inf], (4,))
WIDE = box(-9, 9, (4,))
SMALL = box(-1, 1, (3,))
TWO = box([-2, 0], [2, 5], (2,))
PICTURE = spaces.Box(0, 255, (3, 36, 36), np.uint8)
FRAMES = spaces.Box(0, 255, (4, 40, 36), np.uint8)
PARTS = spaces.Dict(
    {
        "speed": box([-1, -2], [1, np.inf], (2,)),
        "gear": spaces.Discrete(4),
        "lights": spaces.MultiBinary(3),
        "seats": spaces.MultiDiscrete([2, 3]),
        "grid": box(-1, 1, (2, 2)),
    }
)
VIEW = spaces.Dict({"camera": PICTURE, "speed": SMALL})
FEW = {"features_extractor_kwargs": {"features_dim": 16}}  # features of a picture: more would only take longer
SMALL_CNN = {"policy_kwargs": FEW}
SMALL_VIEW = {"policy_kwargs": {"features_extractor_kwargs": {"cnn_output_dim": 16}}}


@dataclass(frozen=True)
class Case:
    """A model to make: algorithm, spaces, the library's name of the policy, arguments."""

    algorithm: type[BaseAlgorithm]
    observation: Space
    action: Space
    policy: str = "MlpPolicy"
    arguments: dict[str, Any] = field(default_factory=dict)


def _cnn(algorithm: type[BaseAlgorithm], action: Space, observation: Space = PICTURE) -> Case:
    return Case(algorithm, observation, action, "CnnPolicy", SMALL_CNN)


def _parts(algorithm: type[BaseAlgorithm], action: Space) -> Case:
    return Case(algorithm, PARTS, action, "MultiInputPolicy")


DISCRETE = spaces.Discrete(4)
MULTI = spaces.MultiDiscrete([2, 5, 3])
BINARY = spaces.MultiBinary(5)

MATRIX: dict[str, Case] = {
    **{f"{each.__name__} Discrete": Case(each, CARTPOLE, DISCRETE) for each in (PPO, A2C, DQN, QRDQN, MaskablePPO)},
    **{f"{each.__name__} MultiDiscrete": Case(each, WIDE, MULTI) for each in (PPO, A2C, MaskablePPO)},
    **{f"{each.__name__} MultiBinary": Case(each, WIDE, BINARY) for each in (PPO, A2C, MaskablePPO)},
    **{f"{each.__name__} Box": Case(each, WIDE, TWO) for each in (PPO, A2C, TRPO, SAC, TD3, DDPG, TQC, CrossQ)},
    **{f"{each.__name__} parts": _parts(each, DISCRETE) for each in (PPO, A2C, DQN, QRDQN, MaskablePPO)},
    **{f"{each.__name__} parts": _parts(each, TWO) for each in (SAC, TD3, DDPG)},
    **{f"{each.__name__} picture": _cnn(each, DISCRETE) for each in (PPO, A2C, DQN, QRDQN, MaskablePPO)},
    **{f"{each.__name__} picture": _cnn(each, TWO) for each in (SAC, TD3, DDPG)},
    **{
        f"{each.__name__} Discrete observation": Case(each, spaces.Discrete(6), DISCRETE)
        for each in (PPO, A2C, DQN, QRDQN, MaskablePPO)
    },
    **{
        f"{each.__name__} MultiDiscrete observation": Case(each, spaces.MultiDiscrete([3, 2, 4]), DISCRETE)
        for each in (PPO, A2C, DQN)
    },
    **{
        f"{each.__name__} MultiBinary observation": Case(each, spaces.MultiBinary(6), DISCRETE)
        for each in (PPO, A2C, DQN)
    },
}
"""Each algorithm over each kind of space."""

ODD: dict[str, Case] = {
    "action start": Case(PPO, SMALL, spaces.Discrete(4, start=-1)),
    "two dimensions": Case(PPO, box(-9, 9, (2, 3)), MULTI),
    "Box clipped": Case(PPO, WIDE, box([-0.1, 0.0], [0.05, 0.2], (2,))),
    "Box of two dimensions": Case(PPO, WIDE, box(-0.2, 0.1, (2, 3))),
    "squashed": Case(
        PPO,
        WIDE,
        box([-2, 1], [3, 5], (2,)),
        arguments={"use_sde": True, "policy_kwargs": {"squash_output": True}},
    ),
    "gSDE": Case(A2C, WIDE, box(-1, 1, (2,)), arguments={"use_sde": True}),
    "picture through an MLP": Case(PPO, spaces.Box(0, 255, (3, 12, 12), np.uint8), DISCRETE),
    "wide picture through an MLP": Case(PPO, stored_in_short(spaces.Box(0, 255, (3, 40, 40), np.uint8)), DISCRETE),
    "float64 observation": Case(PPO, spaces.Box(-1, 1, (3,), np.float64), DISCRETE),
    "separate nets": Case(
        PPO, CARTPOLE, DISCRETE, arguments={"policy_kwargs": {"net_arch": {"pi": [16, 8, 4], "vf": [7]}}}
    ),
    "same nets": Case(A2C, CARTPOLE, DISCRETE, arguments={"policy_kwargs": {"net_arch": [5, 300]}}),
    "no hidden layer": Case(PPO, CARTPOLE, DISCRETE, arguments={"policy_kwargs": {"net_arch": []}}),
    "DQN deep Tanh": Case(
        DQN, CARTPOLE, DISCRETE, arguments={"policy_kwargs": {"net_arch": [8] * 5, "activation_fn": nn.Tanh}}
    ),
    "SAC gSDE": Case(SAC, SMALL, TWO, arguments={"use_sde": True, "policy_kwargs": {"clip_mean": 0.1}}),
    "TQC gSDE": Case(TQC, SMALL, TWO, arguments={"use_sde": True}),
    "CrossQ gSDE": Case(CrossQ, SMALL, TWO, arguments={"use_sde": True, "policy_kwargs": {"clip_mean": 0.3}}),
    "CrossQ epsilon": Case(
        CrossQ,
        SMALL,
        TWO,
        arguments={"policy_kwargs": {"batch_norm_eps": 0.5, "net_arch": [12], "activation_fn": nn.ELU}},
    ),
    "CrossQ without renormalisation": Case(CrossQ, SMALL, TWO, arguments={"policy_kwargs": {"batch_norm": False}}),
    "CrossQ no hidden layer": Case(
        CrossQ, SMALL, TWO, arguments={"policy_kwargs": {"net_arch": {"pi": [], "qf": [8]}}}
    ),
    "SAC one layer": Case(SAC, SMALL, box(-2, 2, (1,)), arguments={"policy_kwargs": {"net_arch": [9]}}),
    "DDPG ELU": Case(DDPG, SMALL, box(-3, 1, (1,)), arguments={"policy_kwargs": {"activation_fn": nn.ELU}}),
    "QRDQN few quantiles": Case(QRDQN, SMALL, DISCRETE, arguments={"policy_kwargs": {"n_quantiles": 7}}),
    "stack of frames": _cnn(DQN, DISCRETE, FRAMES),
    "picture not divided by 255": Case(
        PPO,
        stored_in_short(spaces.Box(0, 255, (3, 36, 36), np.uint8)),
        DISCRETE,
        "CnnPolicy",
        {"policy_kwargs": FEW | {"normalize_images": False}},
    ),
    "picture of floats": Case(
        PPO,
        stored_in_short(box(0, 1, (3, 36, 36))),
        DISCRETE,
        "CnnPolicy",
        {
            "policy_kwargs": {
                "normalize_images": False,
                "features_extractor_kwargs": {"features_dim": 16, "normalized_image": True},
            }
        },
    ),
    "extractors apart": Case(
        PPO,
        PICTURE,
        TWO,
        "CnnPolicy",
        {"policy_kwargs": FEW | {"share_features_extractor": False}},
    ),
    "picture among parts": Case(PPO, VIEW, DISCRETE, "MultiInputPolicy", SMALL_VIEW),
    "SAC picture among parts": Case(SAC, VIEW, TWO, "MultiInputPolicy", SMALL_VIEW),
    **{
        f"activation {each.__name__}": Case(
            PPO, CARTPOLE, spaces.Discrete(9), arguments={"policy_kwargs": {"activation_fn": each}}
        )
        for each in (nn.ReLU, nn.ELU, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Mish, nn.Softplus, nn.SELU)
    },
}
"""What is out of the ordinary: bounds, widths, activations, settings."""

CASES = MATRIX | ODD


def is_slow(case: Case) -> bool:
    """Whether ten thousand observations cost seconds: pictures do."""
    return case.policy == "CnnPolicy" or case.observation is VIEW
