from typing import Any

import numpy as np
import pytest

from handlers import answers
from handlers.actions import actions as chosen
from handlers.card import Output
from handlers.distributions import Distribution
from handlers.spaces import Box, Discrete, MultiBinary, MultiDiscrete, network_output

LABELS = ("a", "b", "c")
BOX = Box((2, 1), np.dtype(np.float32), np.full((2, 1), -np.inf), np.full((2, 1), np.inf))


def logits(*rows: list[float]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(rows, dtype=np.float32)


def test_softmax_names_the_likeliest_class_and_sorts_the_others() -> None:
    [answer] = answers.classes(logits([0.0, np.log(2), np.log(5)]), LABELS, Output("softmax", (0.5,) * 3, None))
    assert answer == {"label": "c", "confidence": 0.625, "probabilities": {"c": 0.625, "b": 0.25, "a": 0.125}}
    assert list(answer["probabilities"]) == ["c", "b", "a"]


def test_equal_classes_stay_in_the_order_of_the_labels() -> None:
    [answer] = answers.classes(logits([1, 1, 1]), LABELS, Output("softmax", (0.5,) * 3, None))
    assert list(answer["probabilities"]) == ["a", "b", "c"]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_extreme_logits_do_not_overflow(activation: Any) -> None:
    [answer] = answers.classes(logits([1e30, -1e30, 0]), LABELS, Output(activation, (0.5,) * 3, None))
    assert answer["probabilities"]["a"] == 1.0
    assert answer["probabilities"]["b"] == 0.0


def test_top_k_cuts_the_list_and_not_the_labels_that_hold() -> None:
    rows = logits([3, 2, 1])
    [single] = answers.classes(rows, LABELS, Output("softmax", (0.5,) * 3, 2))
    assert list(single["probabilities"]) == ["a", "b"]
    [several] = answers.classes(rows, LABELS, Output("sigmoid", (0.5,) * 3, 1))
    assert several["labels"] == ["a", "b", "c"]
    assert list(several["probabilities"]) == ["a"]


def test_sigmoid_compares_each_class_with_its_own_threshold() -> None:
    [answer] = answers.classes(logits([0, 0, 0]), LABELS, Output("sigmoid", (0.4, 0.5, 0.6), None))
    assert answer == {"labels": ["a", "b"], "probabilities": {"a": 0.5, "b": 0.5, "c": 0.5}}


def test_probabilities_have_six_decimals() -> None:
    [answer] = answers.classes(logits([1.1, 0.3, 0.2]), LABELS, Output("softmax", (0.5,) * 3, None))
    assert all(round(value, 6) == value for value in answer["probabilities"].values())


@pytest.mark.parametrize(
    ("space", "output", "actions"),
    [
        (Discrete(3, 0), logits([1, 3, 2], [5, 3, 2]), [1, 0]),
        (Discrete(3, -1), logits([1, 3, 2]), [0]),
        (MultiDiscrete((2, 3)), logits([0, 1, 5, 2, 3]), [[1, 0]]),
        (MultiBinary(3), logits([0.1, -2, 0]), [[1, 0, 0]]),
        (BOX, np.array([[[0.1], [-3.3333333]]], dtype=np.float32), [[[0.1], [-3.3333333]]]),
    ],
    ids=["discrete", "discrete-with-start", "multi-discrete", "multi-binary", "box"],
)
def test_an_action_is_worded_by_its_space(space: Any, output: Any, actions: list[Any]) -> None:
    assert output.shape[1:] == network_output(space)[1]
    assert chosen(output, space, Distribution("none"), {}) == actions


def test_continuous_actions_keep_every_bit() -> None:
    values = np.random.default_rng(0).normal(size=(50, 2, 1)).astype(np.float32)
    worded = chosen(values, BOX, Distribution("none"), {})
    assert (np.array(worded, dtype=np.float32) == values).all()
