"""Output kinds: predictions, tensors of the Open Inference Protocol, and comparison of two versions' responses."""

import json
from typing import Any

import numpy as np
import pytest

from handlers import outputs
from handlers.action_selection import select_actions
from handlers.outputs import classify, compare_responses, multilabel
from handlers.outputs.class_probabilities import ClassSettings
from handlers.spaces import Box, Discrete, Distribution, MultiBinary, MultiDiscrete, network_output

LABELS = ("a", "b", "c")
BOX = Box((2, 1), np.dtype(np.float32), np.full((2, 1), -np.inf), np.full((2, 1), np.inf))


def logits(*rows: list[float]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(rows, dtype=np.float32)


def predicted(activation: str, values: Any, thresholds: tuple[float, ...], top_k: int | None) -> list[dict[str, Any]]:
    kind = classify.KIND if activation == "softmax" else multilabel.KIND
    return kind.predictions({"logits": values}, ClassSettings(LABELS, thresholds, top_k))


def test_softmax_returns_likeliest_class_and_sorted_probabilities() -> None:
    [answer] = predicted("softmax", logits([0.0, np.log(2), np.log(5)]), (0.5,) * 3, None)
    assert answer == {"label": "c", "confidence": 0.625, "probabilities": {"c": 0.625, "b": 0.25, "a": 0.125}}
    assert list(answer["probabilities"]) == ["c", "b", "a"]


def test_equal_classes_stay_in_the_order_of_the_labels() -> None:
    [answer] = predicted("softmax", logits([1, 1, 1]), (0.5,) * 3, None)
    assert list(answer["probabilities"]) == ["a", "b", "c"]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_extreme_logits_do_not_overflow(activation: Any) -> None:
    [answer] = predicted(activation, logits([1e30, -1e30, 0]), (0.5,) * 3, None)
    assert answer["probabilities"]["a"] == 1.0
    assert answer["probabilities"]["b"] == 0.0


def test_top_k_cuts_the_list_and_not_the_labels_that_hold() -> None:
    rows = logits([3, 2, 1])
    [single] = predicted("softmax", rows, (0.5,) * 3, 2)
    assert list(single["probabilities"]) == ["a", "b"]
    [several] = predicted("sigmoid", rows, (0.5,) * 3, 1)
    assert several["labels"] == ["a", "b", "c"]
    assert list(several["probabilities"]) == ["a"]


def test_sigmoid_compares_each_class_with_its_own_threshold() -> None:
    [answer] = predicted("sigmoid", logits([0, 0, 0]), (0.4, 0.5, 0.6), None)
    assert answer == {"labels": ["a", "b"], "probabilities": {"a": 0.5, "b": 0.5, "c": 0.5}}


def test_probabilities_have_six_decimals() -> None:
    [answer] = predicted("softmax", logits([1.1, 0.3, 0.2]), (0.5,) * 3, None)
    assert all(round(value, 6) == value for value in answer["probabilities"].values())


@pytest.mark.parametrize(
    ("space", "output", "actions"),
    [
        (Discrete(3, 0), logits([1, 3, 2], [5, 3, 2]), [1, 0]),
        (Discrete(3, -1), logits([1, 3, 2]), [0]),
        (MultiDiscrete((2, 3)), logits([0, 1, 5, 2, 3]), [[1, 0]]),
        (MultiBinary((3,)), logits([0.1, -2, 0]), [[1, 0, 0]]),
        (BOX, np.array([[[0.1], [-3.3333333]]], dtype=np.float32), [[[0.1], [-3.3333333]]]),
    ],
    ids=["discrete", "discrete-with-start", "multi-discrete", "multi-binary", "box"],
)
def test_action_has_the_form_of_its_space(space: Any, output: Any, actions: list[Any]) -> None:
    assert output.shape[1:] == network_output(space)[1]
    assert select_actions(output, space, Distribution("none"), {}) == actions


def test_continuous_actions_keep_every_bit() -> None:
    values = np.random.default_rng(0).normal(size=(50, 2, 1)).astype(np.float32)
    worded = select_actions(values, BOX, Distribution("none"), {})
    assert (np.array(worded, dtype=np.float32) == values).all()


CHANCES = {"c": 0.7, "a": 0.6}
SIGMOID = {"labels": ["c"], "probabilities": CHANCES}
SOFTMAX = {"label": "c", "confidence": 0.7, "probabilities": CHANCES}


def vision(**output: Any) -> dict[str, Any]:
    return {"kind": "vision", "labels": list(LABELS), "output": output}


def policy(space: dict[str, Any], observation: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"kind": "policy", "action": {"space": space}, "observation": {"space": observation or {"shape": [4]}}}


ANSWERS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, tuple[str, tuple[int, ...], list[Any]]]]] = {
    "softmax": (
        vision(activation="softmax", top_k=None),
        SOFTMAX,
        {
            "probabilities": ("FP32", (-1, 3), [0.6, 0.0, 0.7]),
            "label": ("BYTES", (-1,), ["c"]),
            "confidence": ("FP32", (-1,), [0.7]),
        },
    ),
    "softmax, the best two": (
        vision(activation="softmax", top_k=2),
        SOFTMAX,
        {
            "probabilities": ("FP32", (-1, 2), [0.7, 0.6]),
            "labels": ("BYTES", (-1, 2), ["c", "a"]),
            "label": ("BYTES", (-1,), ["c"]),
            "confidence": ("FP32", (-1,), [0.7]),
        },
    ),
    "more than there are": (
        vision(activation="sigmoid", top_k=9),
        SIGMOID,
        {
            "probabilities": ("FP32", (-1, 3), [0.7, 0.6, 0.0]),
            "labels": ("BYTES", (-1, 3), ["c", "a", ""]),
            "holds": ("BOOL", (-1, 3), [True, False, False]),
        },
    ),
    "sigmoid": (
        vision(activation="sigmoid"),
        SIGMOID,
        {
            "probabilities": ("FP32", (-1, 3), [0.6, 0.0, 0.7]),
            "holds": ("BOOL", (-1, 3), [False, False, True]),
        },
    ),
    "discrete": (policy({"type": "discrete", "n": 2}), {"action": 1}, {"action": ("INT64", (-1,), [1])}),
    "box": (
        policy({"type": "box", "shape": [2, 2]}),
        {"action": [[0.1, 0.2], [0.3, 0.4]]},
        {"action": ("FP32", (-1, 2, 2), [0.1, 0.2, 0.3, 0.4])},
    ),
    "multi discrete": (
        policy({"type": "multi_discrete", "nvec": [3, 2]}),
        {"action": [2, 0]},
        {"action": ("INT64", (-1, 2), [2, 0])},
    ),
    "multi binary": (
        policy({"type": "multi_binary", "n": 3}),
        {"action": [1, 0, 1]},
        {"action": ("INT64", (-1, 3), [1, 0, 1])},
    ),
    "no card": ({}, {}, {}),
}


@pytest.mark.parametrize(("card", "prediction", "tensors"), ANSWERS.values(), ids=ANSWERS.keys())
def test_every_output_kind_has_its_tensors(
    card: dict[str, Any], prediction: dict[str, Any], tensors: dict[str, tuple[str, tuple[int, ...], list[Any]]]
) -> None:
    found = {each.name: (each.datatype, each.shape, each.read(prediction)) for each in outputs.output_tensors(card)}
    assert found == tensors


def response(*each: object) -> bytes:
    return json.dumps({"model": "m", "version": "1", "predictions": each}).encode()


def classified(label: str, sure: float) -> dict[str, object]:
    return {"label": label, "confidence": sure, "probabilities": {label: sure, "other": 1 - sure}}


@pytest.mark.parametrize(
    ("old", "new", "differs", "change"),
    [
        ([classified("7", 0.9)], [classified("7", 0.6)], False, 0.3),
        ([classified("7", 0.9)], [classified("1", 0.9)], True, 0.0),
        ([{"labels": ["a"], "probabilities": {"a": 0.6}}], [{"labels": [], "probabilities": {"a": 0.4}}], True, 0.2),
        ([{"action": 0}], [{"action": 0}], False, 0.0),
        ([{"action": 0}], [{"action": 1}], True, 0.0),
        ([{"action": 0}, {"action": 1}], [{"action": 0}, {"action": 0}], True, 0.0),
        ([{"action": [0.5, -1.0]}], [{"action": [0.5004, -1.0]}], False, 0.0004),
        ([{"action": [0.5, -1.0]}], [{"action": [0.6, -1.0]}], True, 0.1),
        ([{"action": [1, 0]}], [{"action": [1, 1]}], True, 0.0),
        ([{"action": 0}], [], True, 0.0),
        ([{"own": 1}], [{"own": 2}], True, 0.0),
        ([1], [1], False, 0.0),
    ],
)
def test_responses_differ_by_the_fields_acted_on(
    old: list[object], new: list[object], differs: bool, change: float
) -> None:
    found = compare_responses(response(*old), response(*new), 0.001)
    assert found.differs is differs
    assert found.change == pytest.approx(change)


def test_response_without_predictions_differs_unless_equal() -> None:
    assert compare_responses(b"x", b"y", 0.1).differs
    assert not compare_responses(b"x", b"x", 0.1).differs
    assert compare_responses(b"[]", b"{}", 0.1).differs
