import io
import json
import random
from typing import Any

import gymnasium
import pytest
from gymnasium import spaces
from PIL import Image

from errors import LoadError
from loadtest.feed import Environments
from loadtest.inputs import generate_images, generate_states


def test_made_pictures_are_different_jpegs_of_the_asked_size() -> None:
    samples = generate_images(3, 60, 80, random.Random(0))
    for sample in samples:
        with Image.open(io.BytesIO(sample.body)) as picture:
            assert (picture.format, picture.size, picture.mode) == ("JPEG", (80, 60), "RGB")
            assert picture.convert("L").getextrema() != (0, 0)
    assert len({sample.body for sample in samples}) == 3


def test_the_same_seed_makes_the_same_inputs() -> None:
    assert generate_images(2, 8, 8, random.Random(1)) == generate_images(2, 8, 8, random.Random(1))
    assert generate_images(2, 8, 8, random.Random(1)) != generate_images(2, 8, 8, random.Random(2))


def _values(space: dict[str, Any], fields: list[str] | None = None) -> list[Any]:
    observation = {"space": {"type": "box", "dtype": "float32", **space}, "fields": fields}
    return [json.loads(sample.body) for sample in generate_states(observation, 200, random.Random(0))]


def test_states_lie_inside_their_space_and_fill_it() -> None:
    states = _values({"shape": [2], "low": [-4.8, 0.0], "high": [4.8, 1.0]})
    first = [state[0] for state in states]
    assert all(-4.8 < value < 4.8 for value in first)
    assert min(first) < -4.0
    assert max(first) > 4.0
    assert all(0.0 < state[1] < 1.0 for state in states)


@pytest.mark.parametrize("bound", [None, 3.4e38], ids=["none", "float32's largest"])
def test_a_bound_that_is_none_or_far_leaves_small_numbers(bound: float | None) -> None:
    low = None if bound is None else -bound
    assert all(abs(state[0]) < 10 for state in _values({"shape": [1], "low": [low], "high": [bound]}))


def test_a_half_open_space_keeps_its_one_bound() -> None:
    assert all(state[0] >= 0 for state in _values({"shape": [1], "low": [0], "high": [None]}))


def test_states_have_names_where_the_card_names_fields() -> None:
    states = _values({"shape": [2], "low": None, "high": None}, fields=["position", "velocity"])
    assert all(set(state) == {"position", "velocity"} for state in states)


def test_states_have_the_shape_of_their_space_and_whole_numbers_where_it_holds_integers() -> None:
    states = _values({"shape": [2, 3], "dtype": "uint8", "low": [[0] * 3] * 2, "high": 255})
    for state in states:
        assert [len(row) for row in state] == [3, 3]
        assert all(isinstance(value, int) and 0 <= value <= 255 for row in state for value in row)


def _part(size: int) -> dict[str, Any]:
    return {"type": "box", "shape": [size], "dtype": "float32", "low": [-1.0] * size, "high": None}


def test_states_of_parts_are_objects_of_exactly_the_parts() -> None:
    parts = [{"key": key, "space": _part(2)} for key in ("observation", "achieved_goal", "desired_goal")]
    for state in _values({"type": "dict", "spaces": parts}):
        assert set(state) == {"observation", "achieved_goal", "desired_goal"}
        assert all(len(values) == 2 and min(values) >= -1 for values in state.values())


def test_state_whose_one_part_is_called_instances_is_wrapped() -> None:
    states = _values({"type": "dict", "spaces": [{"key": "instances", "space": _part(1)}]})
    assert all(set(state) == {"observation"} and set(state["observation"]) == {"instances"} for state in states)


def test_a_space_that_is_no_box_asks_for_a_file() -> None:
    with pytest.raises(LoadError, match=r"stress\.inputs"):
        generate_states({"space": {"type": "discrete", "n": 3}}, 1, random.Random(0))


GOAL = ("observation", "achieved_goal", "desired_goal")


class Reach(gymnasium.Env[Any, Any]):
    """A robot's environment as Gymnasium lays its observations out."""

    def __init__(self) -> None:
        self.observation_space = spaces.Dict({key: spaces.Box(-1, 1, (2,)) for key in GOAL})
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}


def test_environment_of_parts_asks_with_exactly_the_parts() -> None:
    gymnasium.register("Reach-v0", f"{__name__}:Reach", disable_env_checker=True)
    played = Environments("Reach-v0", clients=1, seed=0, fields=None, model="reach")
    state = json.loads(played.next(0, 0).body)
    played.close()
    assert {key: len(values) for key, values in state.items()} == dict.fromkeys(GOAL, 2)
