import json
from typing import Any

import gymnasium
from gymnasium import spaces

from loadtest.feed import Environments

GOAL = ("observation", "achieved_goal", "desired_goal")


class Reach(gymnasium.Env[Any, Any]):
    """A robot's environment as Gymnasium lays its observations out."""

    def __init__(self) -> None:
        self.observation_space = spaces.Dict({key: spaces.Box(-1, 1, (2,)) for key in GOAL})
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}


def test_environments_dict_observation_has_exactly_its_parts() -> None:
    gymnasium.register("Reach-v0", f"{__name__}:Reach", disable_env_checker=True)
    played = Environments("Reach-v0", clients=1, seed=0, fields=None, model="reach")
    state = json.loads(played.next(0, 0).body)
    played.close()
    assert {key: len(values) for key, values in state.items()} == dict.fromkeys(GOAL, 2)
