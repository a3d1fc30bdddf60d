"""What a request asks of a policy beside its observations: drawn actions, seeds and masks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from handlers.action_selection import read_options, select_actions
from handlers.errors import InvalidFields
from handlers.spaces import ActionSpace, Box, Discrete, Distribution, MultiBinary, MultiDiscrete
from tests.handlers import archives
from tests.handlers.worker import Worker, parsed

Load = Callable[..., Worker]

STATE = dict(zip(archives.FIELDS, [0.1, 0.2, 0.3, 0.4], strict=True))
ROW = [0.1, 0.2, 0.3, 0.4]
DISCRETE = {"type": "discrete", "n": 2, "start": 0}
CATEGORICAL = {"type": "categorical", "masks": True}


def action(**distribution: Any) -> dict[str, Any]:
    return {"space": DISCRETE, "names": None, "distribution": distribution}


@pytest.fixture
def masked(policy_with: Load) -> Worker:
    return policy_with(action=action(**CATEGORICAL))


def test_seed_gives_the_same_actions_in_any_batch(masked: Worker) -> None:
    asked = {"instances": [ROW] * 40, "deterministic": False, "seed": 7}
    first = masked.one(parsed(asked)).predictions
    other = parsed({"instances": [ROW] * 3, "deterministic": False, "seed": 8})
    _, again, plain = masked.answer(other, parsed(asked), parsed(ROW))
    assert again.predictions == first
    assert {each["action"] for each in first} == {0, 1}
    assert plain.predictions == [{"action": 1}]
    assert masked.one(parsed(asked | {"seed": 8})).predictions != first
    # An instance depends on its place alone.
    assert masked.one(parsed(asked | {"instances": [ROW] * 5})).predictions == first[:5]


def test_without_a_seed_each_request_draws_anew(masked: Worker) -> None:
    asked = {"instances": [ROW] * 64, "deterministic": False}
    assert masked.one(parsed(asked)).predictions != masked.one(parsed(asked)).predictions


@pytest.mark.parametrize("state", [STATE, ROW], ids=["fields", "array"])
def test_one_observation_takes_the_same_options(masked: Worker, state: Any) -> None:
    one = masked.one(parsed({"observation": state, "deterministic": False, "seed": 3})).predictions
    many = masked.one(parsed({"instances": [state], "deterministic": False, "seed": 3})).predictions
    assert one == many
    assert masked.one(parsed({"observation": state})).predictions == [{"action": 1}]
    assert masked.one(parsed({"observation": state, "deterministic": True})).predictions == [{"action": 1}]


def test_a_forbidden_action_is_never_taken(masked: Worker) -> None:
    only_left = {"observation": ROW, "action_masks": [True, False]}
    assert masked.one(parsed(only_left)).predictions == [{"action": 0}]
    each = {"instances": [ROW, ROW], "action_masks": [[1, 0], [0, 1]], "deterministic": False}
    assert masked.one(parsed(each)).predictions == [{"action": 0}, {"action": 1}]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "deterministic-is-text": ({"deterministic": "no"}, "deterministic must be true or false"),
    "deterministic-is-a-number": ({"deterministic": 0}, "deterministic must be true or false"),
    "seed-below-zero": ({"deterministic": False, "seed": -1}, "seed must be a whole number"),
    "seed-too-large": ({"deterministic": False, "seed": 2**63}, "seed must be a whole number"),
    "seed-is-a-boolean": ({"deterministic": False, "seed": True}, "seed must be a whole number"),
    "seed-is-broken": ({"deterministic": False, "seed": 1.5}, "seed must be a whole number"),
    "seed-without-drawing": ({"seed": 1}, "a seed is for deterministic: false"),
    "unknown-option": ({"temperature": 1}, "unknown field beside observation: temperature"),
    "mask-too-short": ({"action_masks": [True]}, "action_masks must hold 2 of true and false for each of 1"),
    "mask-too-many": ({"action_masks": [[1, 1], [1, 1]]}, "action_masks must hold 2"),
    "mask-of-text": ({"action_masks": ["a", "b"]}, "action_masks must hold 2"),
    "mask-of-floats": ({"action_masks": [1.0, 0.0]}, "action_masks must hold 2"),
    "mask-of-twos": ({"action_masks": [2, 1]}, "action_masks must hold 2"),
    "mask-is-a-number": ({"action_masks": 1}, "action_masks must hold 2"),
    "mask-is-null": ({"action_masks": None}, "action_masks must hold 2"),
    "nothing-allowed": ({"action_masks": [0, 0]}, "action_masks allow no action at all for observation 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_option_is_refused_with_its_reason(masked: Worker, name: str) -> None:
    options, words = REFUSED[name]
    answer, neighbour = masked.answer(parsed({"observation": ROW, **options}), parsed(ROW))
    assert answer.error == (422, "invalid_fields")
    assert words in answer.json["detail"]
    assert neighbour.predictions == [{"action": 1}]


def test_a_policy_that_cannot_draw_says_why(policy_with: Load) -> None:
    worker = policy_with(action=action(type="none", reason="it has no distribution"))
    answer = worker.one(parsed({"observation": ROW, "deterministic": False}))
    assert answer.error == (422, "invalid_fields")
    assert "deterministic actions only: it has no distribution" in answer.json["detail"]
    masked = worker.one(parsed({"observation": ROW, "action_masks": [True, True]}))
    assert "accepts no action_masks" in masked.json["detail"]


def test_a_field_may_have_the_name_of_an_option(policy_with: Load) -> None:
    fields = ["observation", "seed", "angle", "turn"]
    observation = archives.policy_card()["observation"] | {"fields": fields}
    worker = policy_with(observation=observation, action=action(**CATEGORICAL))
    state = dict(zip(fields, ROW, strict=True))
    assert worker.one(parsed(state)).predictions == [{"action": 1}]
    assert worker.one(parsed({"observation": state, "action_masks": [1, 0]})).predictions == [{"action": 0}]


BOX = Box((1,), np.dtype(np.float32), np.array([-1], np.float32), np.array([1], np.float32))
DRAWN: dict[str, tuple[ActionSpace, Distribution, list[Any]]] = {
    "discrete": (Discrete(3, 1), Distribution("categorical"), [1.0, 0.5, -2.0]),
    "multi-discrete": (MultiDiscrete((2, 2)), Distribution("categorical"), [1.0, 0.5, 0.0, 3.0]),
    "multi-binary": (MultiBinary((2,)), Distribution("bernoulli"), [0.5, -1.0]),
    "gaussian": (BOX, Distribution("gaussian"), [[0.2], [-0.5]]),
    "squashed": (BOX, Distribution("gaussian", squash=True), [[0.2], [-0.5]]),
    "epsilon-greedy": (Discrete(3, 0), Distribution("epsilon_greedy", rate=0.5), [1.0, 3.0, 2.0]),
}
# What this generator and this code have given since they were written; another machine must give the same.
EXPECTED: dict[str, list[Any]] = {
    "discrete": [2, 2, 2, 1, 1],
    "multi-discrete": [[1, 1], [1, 1], [0, 1], [0, 1], [1, 1]],
    "multi-binary": [[0, 0], [0, 1], [1, 0], [1, 0], [0, 0]],
    "gaussian": [[0.20074613], [0.38119835], [0.03372699], [-0.34017128], [-0.075771764]],
    "squashed": [[0.19809222], [0.36374772], [0.033714175], [-0.32763028], [-0.07562709]],
    "epsilon-greedy": [1, 1, 2, 2, 1],
}


def drawn(name: str, count: int) -> list[Any]:
    space, distribution, parameters = DRAWN[name]
    more = read_options({"deterministic": False, "seed": 7}, count, space, distribution)
    return select_actions(np.array([parameters] * count, dtype=np.float32), space, distribution, more)


@pytest.mark.parametrize("name", DRAWN)
def test_a_seed_means_the_same_on_every_machine(name: str) -> None:
    assert np.allclose(drawn(name, 5), EXPECTED[name], rtol=0, atol=1e-6)


def test_a_drawn_gaussian_stays_inside_its_space() -> None:
    for name in ("gaussian", "squashed"):
        values = np.array(drawn(name, 2000))
        assert values.min() >= -1
        assert values.max() <= 1
    assert (np.abs(np.array(drawn("gaussian", 2000))) == 1).any()


def test_a_share_of_nothing_is_never_drawn() -> None:
    """The largest number below 1 falls into the last share that is one."""
    logits = np.array([[0.0, 0.0, -1e8]], dtype=np.float32)
    more = {"noise": np.array([[np.nextafter(1.0, 0.0)]])}
    assert select_actions(logits, Discrete(3, 0), Distribution("categorical"), more) == [1]


def test_masks_need_discrete_actions() -> None:
    with pytest.raises(InvalidFields, match="discrete actions"):
        read_options({"action_masks": [1]}, 1, BOX, Distribution("categorical", masks=True))
