from typing import Any

import numpy as np
import pytest

from handlers import observations
from handlers.card import Observation
from handlers.errors import InvalidFields
from handlers.spaces import Box, Dict
from tests.handlers import archives
from tests.handlers.archives import FIELDS
from tests.handlers.conftest import Load
from tests.handlers.worker import Worker, parsed, request

STATE = dict(zip(FIELDS, [1, 0.5, 0, 0], strict=True))
ROW = [0.5, 1.0, 0.0, 0.0]

ACCEPTED: dict[str, tuple[dict[str, Any], list[int]]] = {
    "named-fields": (parsed(STATE), [0]),
    "named-fields-in-another-order": (parsed(dict(reversed(STATE.items()))), [0]),
    "array": (parsed(ROW), [1]),
    "many-arrays": (parsed([ROW, [1, 0, 0, 0], ROW]), [1, 0, 1]),
    "instances-of-fields": (parsed({"instances": [STATE, STATE]}), [0, 0]),
    "instances-of-arrays": (parsed({"instances": [ROW, ROW]}), [1, 1]),
    "instances-of-both": (parsed({"instances": [STATE, ROW]}), [0, 1]),
    "unparsed-json": (request(bytearray(b"[1, 0, 0, 0]")), [0]),
    "json-as-text": (request("[1, 0, 0, 0]", "text/plain"), [0]),
    "on-the-bounds": (parsed([4.8, 1e30, -0.5, -1e30]), [1]),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_observation_is_read(policy: Worker, name: str) -> None:
    item, actions = ACCEPTED[name]
    assert policy.one(item).predictions == [{"action": action} for action in actions]


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in STATE.items() if name != field}


def seen(*keys: str) -> Observation:
    """Observations of one number a part."""
    bound = np.ones(1, np.float32)
    return Observation(Dict(tuple((key, Box((1,), bound.dtype, -bound, bound)) for key in keys)), None, "reject")


def part(key: str) -> dict[str, list[float]]:
    return {key: [0.5]}


GOAL = ("achieved_goal", "desired_goal", "observation")
STATES: dict[str, tuple[tuple[str, ...], Any, int]] = {
    "goal": (GOAL, {key: [0.5] for key in GOAL}, 1),
    "goal-in-an-envelope": (GOAL, {"observation": {key: [0.5] for key in GOAL}}, 1),
    "goal-with-an-option": (GOAL, {"observation": {key: [0.5] for key in GOAL}, "deterministic": True}, 1),
    "goals": (GOAL, {"instances": [{key: [0.5] for key in GOAL}] * 3}, 3),
    "goals-with-options": (GOAL, {"instances": [{key: [0.5] for key in GOAL}] * 3, "seed": 1}, 3),
    "instances-is-a-part": (("instances", "x"), part("instances") | part("x"), 1),
    "instances-is-a-part-of-many": (("instances", "x"), {"instances": [part("instances") | part("x")] * 2}, 2),
    "observation-alone": (("observation",), part("observation"), 1),
    "observation-alone-with-an-option": (("observation",), {"observation": part("observation"), "seed": 1}, 1),
    "instances-alone-is-many": (("instances",), {"instances": [part("instances")] * 2}, 2),
    "instances-alone-in-an-envelope": (("instances",), {"observation": part("instances")}, 1),
    "options-are-parts": (("observation", "seed"), part("observation") | part("seed"), 1),
    "both-are-parts": (("instances", "observation"), part("instances") | part("observation"), 1),
    "both-are-parts-of-many": (
        ("instances", "observation"),
        {"instances": [part("instances") | part("observation")]},
        1,
    ),
}


@pytest.mark.parametrize("name", STATES)
def test_parts_named_as_a_request_is_are_told_apart(name: str) -> None:
    keys, payload, count = STATES[name]
    assert observations.read(payload, seen(*keys)).tolist() == [[0.5] * len(keys)] * count


@pytest.mark.parametrize(
    ("keys", "payload", "words"),
    [
        (GOAL, {"observation": [0.5], "achieved_goal": [0.5]}, "missing part: desired_goal"),
        (GOAL, {"observation": [0.5]}, "an observation must be an object of the parts achieved_goal, desired_goal"),
        (GOAL, {**{key: [0.5] for key in GOAL}, "x": [1]}, "unknown part: x"),
        (("instances", "x"), {"instances": [0.5], "y": [0.5]}, "missing part: x"),
        (("instances",), {"instances": [0.5]}, "an observation must be an object of the parts instances"),
    ],
)
def test_wrong_observation_is_refused_by_name(keys: tuple[str, ...], payload: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        observations.read(payload, seen(*keys))
    assert words in caught.value.detail


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "broken-json": (request(bytearray(b"[1, 2"), "application/json"), 400, "not valid JSON"),
    "empty-body": (request(bytearray(b"")), 400, "not valid JSON"),
    "json-depth-bomb": (request(bytearray(b"[" * 100_000)), 400, "not valid JSON"),
    "picture": (request(bytearray(b"\x89PNG"), "image/png"), 415, "image/png"),
    "missing-field": (parsed(without("angle")), 422, "missing field: angle"),
    "missing-fields": (parsed({}), 422, "missing field: position, speed, angle, turn"),
    "unknown-field": (parsed({**STATE, "colour": 1}), 422, "unknown field: colour"),
    "field-is-text": (parsed({**STATE, "speed": "1"}), 422, "speed: text instead of a number"),
    "field-is-a-boolean": (parsed({**STATE, "speed": True}), 422, "speed: a boolean"),
    "field-is-null": (parsed({**STATE, "speed": None}), 422, "speed: null"),
    "field-is-a-list": (parsed({**STATE, "position": [1]}), 422, "position: lists are nested deeper"),
    "field-is-nan": (parsed({**STATE, "speed": float("nan")}), 422, "speed: a number is not finite"),
    "field-is-infinite": (parsed({**STATE, "speed": float("inf")}), 422, "speed: a number is not finite"),
    "field-is-huge": (parsed({**STATE, "speed": 10**400}), 422, "speed: a number is too large"),
    "field-overflows-its-type": (parsed({**STATE, "speed": 1e39}), 422, "speed is 1e+39, outside of"),
    "field-out-of-range": (parsed({**STATE, "position": 9}), 422, "position is 9, outside of -4.8 to 4.8"),
    "field-below-range": (parsed({**STATE, "angle": -0.6}), 422, "angle is -0.6"),
    "array-too-short": (parsed([1, 2, 3]), 422, "shape [4]"),
    "array-too-long": (parsed([1, 2, 3, 4, 5]), 422, "shape [4]"),
    "array-empty": (parsed([]), 422, "shape [4]"),
    "array-of-empty": (parsed([[]]), 422, "shape [4]"),
    "array-of-text": (parsed(["a", 1, 2, 3]), 422, "text instead of a number"),
    "array-of-booleans": (parsed([True, 1, 2, 3]), 422, "a boolean instead of a number"),
    "array-of-objects": (parsed([STATE]), 422, "an object instead of a number"),
    "array-ragged": (parsed([ROW, [1]]), 422, "same length"),
    "array-too-deep": (parsed([[ROW]]), 422, "nested deeper"),
    "number": (parsed(3), 422, "an array or an object"),
    "text": (parsed("left"), 422, "an array or an object"),
    "null": (parsed(None), 422, "an array or an object"),
    "instances-empty": (parsed({"instances": []}), 422, "not empty"),
    "instances-no-list": (parsed({"instances": STATE}), 422, "must be a list"),
    "instances-with-more": (parsed({"instances": [ROW], "speed": 1}), 422, "unknown field beside instances: speed"),
    "one-instance-is-short": (parsed({"instances": [ROW, [1]]}), 422, "instances[1]: an observation has shape"),
    "one-instance-is-named-wrong": (parsed({"instances": [STATE, {}]}), 422, "instances[1]: missing field"),
    "one-instance-is-a-number": (parsed({"instances": [ROW, 1]}), 422, "instances[1]: an observation must be"),
    "one-instance-is-out-of-range": (parsed({"instances": [ROW, [9, 0, 0, 0]]}), 422, "instances[1]: position is 9"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_observation_is_refused_with_its_reason(policy: Worker, name: str) -> None:
    item, status, words = REFUSED[name]
    answer, neighbour = policy.answer(item, parsed(ROW))
    assert answer.status == status
    assert words in answer.json["detail"]
    assert neighbour.predictions == [{"action": 1}]


def observation(**changes: Any) -> dict[str, Any]:
    return archives.policy_card()["observation"] | changes  # type: ignore[no-any-return]  # a JSON document


def test_out_of_range_values_are_clipped_where_configured(policy_with: Load) -> None:
    box = {"type": "box", "shape": [2], "dtype": "float32", "low": [-1, -1], "high": [1, 1]}
    card = {"observation": observation(out_of_range="clip"), "action": {"space": box, "names": None}}
    worker = policy_with(archives.policy_golden([0.2, 0.4]), **card)
    assert worker.one(parsed([9, 0.25, 0, 0])).predictions == [{"action": [9.6, 0.5]}]
    assert worker.one(parsed([0, 1e39, 0, 0])).error == (422, "invalid_fields")


def test_a_policy_without_field_names_takes_arrays_only(policy_with: Load) -> None:
    worker = policy_with(observation=observation(fields=None))
    assert worker.one(parsed(ROW)).status == 200
    assert worker.one(parsed(STATE)).error == (422, "invalid_fields")
    assert "observation[2] is 0.7" in worker.one(parsed([0, 0, 0.7, 0])).json["detail"]


def test_integer_space_accepts_whole_numbers_of_its_type(policy_with: Load) -> None:
    space = {"type": "box", "shape": [4], "dtype": "uint8", "low": 0, "high": None}
    golden = archives.policy_golden()
    golden["samples"][0]["body"] = "WzEsMiwwLDBd"  # [1,2,0,0]
    worker = policy_with(golden, observation=observation(space=space))
    assert worker.one(parsed([255, 0, 0, 0])).predictions == [{"action": 0}]
    assert "whole numbers" in worker.one(parsed([0.5, 0, 0, 0])).json["detail"]
    assert "outside of 0 to 255" in worker.one(parsed([256, 0, 0, 0])).json["detail"]
