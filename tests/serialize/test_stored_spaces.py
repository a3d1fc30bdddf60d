"""Spaces as each release of gym and Gymnasium words them, without the pickles beside."""

from typing import Any

import pytest

from errors import BuildError
from serialize.sb3.policy_spaces import describe, equal_spaces
from serialize.sb3.stored_spaces import parse_space, read_space

GOAL = {
    "gym 0.21": (
        "OrderedDict([('achieved_goal', Box([-inf -inf -inf], [inf inf inf], (3,), float32)), "
        "('desired_goal', Box([-inf -inf -inf], [inf inf inf], (3,), float32)), "
        "('observation', Box([-inf -inf -inf -inf], [inf inf inf inf], (4,), float32))])"
    ),
    "Gymnasium 0.29": (
        "OrderedDict([('achieved_goal', Box(-inf, inf, (3,), float32)), "
        "('desired_goal', Box(-inf, inf, (3,), float32)), ('observation', Box(-inf, inf, (4,), float32))])"
    ),
    "Gymnasium 1": (
        "{'achieved_goal': Box(-inf, inf, (3,), float32), 'desired_goal': Box(-inf, inf, (3,), float32), "
        "'observation': Box(-inf, inf, (4,), float32)}"
    ),
}
DICT = {":type:": "<class 'gymnasium.spaces.dict.Dict'>"}


@pytest.mark.parametrize("release", GOAL)
def test_read_space_parts_of_each_release(release: str) -> None:
    assert describe(read_space(DICT | {"spaces": GOAL[release]}, "observation space")) == (
        "Dict('achieved_goal': Box(-inf, inf, (3,), float32), 'desired_goal': Box(-inf, inf, (3,), float32), "
        "'observation': Box(-inf, inf, (4,), float32))"
    )


@pytest.mark.parametrize(
    "text",
    [
        "OrderedDict([('a', Box([-1. -2.  0.], [1. 2. 5.], (3,), float32)), ('b', Box(-1.0, 1.0, (2, 2), float32))])",
        (
            "OrderedDict([('a', Box([-1. -2.  0.], [1. 2. 5.], (3,), float32)), "
            "('b', Box([[-1. -1.]\n [-1. -1.]], [[1. 1.]\n [1. 1.]], (2, 2), float32))])"
        ),
        "{'a': Box([-1. -2.  0.], [1. 2. 5.], (3,), float32), 'b': Box(-1.0, 1.0, (2, 2), float32)}",
    ],
)
def test_read_space_arrays_are_bounds(text: str) -> None:
    words = "Dict('a': Box([-1 -2 0], [1 2 5], (3,), float32), 'b': Box(-1, 1, (2, 2), float32))"
    assert describe(read_space(DICT | {"spaces": text}, "observation space")) == words


@pytest.mark.parametrize(
    "text",
    [
        "Box(-1, 1, (3,), float32)",
        "Box([-1 -inf 0], [1 inf 2.5], (3,), float64)",
        "Box(0, 255, (3, 36, 36), uint8)",
        "Discrete(5)",
        "MultiDiscrete([3 5 2])",
        "MultiBinary(6)",
        "MultiBinary([3, 4])",
        "Dict('camera': Box(0, 255, (3, 36, 36), uint8), 'gear': Discrete(4), 'it\\'s': MultiBinary(2))",
    ],
)
def test_describe_prints_the_text_that_was_parsed(text: str) -> None:
    found = parse_space(text, "policy.observation_space")
    assert equal_spaces(parse_space(describe(found), "policy.observation_space"), found)
    assert describe(found).replace('"', "'") == text.replace("\\'", "'")


def test_parse_space_keys_without_quotes() -> None:
    text = "Dict(goal:Box([-inf -inf], [inf inf], (2,), float32), gear:Discrete(4))"
    assert describe(parse_space(text, "x")) == "Dict('goal': Box(-inf, inf, (2,), float32), 'gear': Discrete(4))"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no name and brackets"),
        ("Box(-1, 1)", "Box\\(-1, 1\\)"),
        ("Box(-1, 1, (3,), float99)", "float99"),
        ("Box(-1, 1, (3,), bool)", "bool is not a number type"),
        ("Box([-1 2], 1, (3,), float32)", "2 numbers for low"),
        ("Box([], 1, (3,), float32)", "no numbers"),
        ("Discrete(two)", "two"),
        ("Dict()", "unreadable"),
        ("Dict('a': Discrete(2), 'a': Discrete(3))", "unreadable"),
        ("Dict('a': Dict('b': Discrete(2)))", "is a Dict space"),
        ("Graph(1)", "is a Graph space"),
    ],
)
def test_parse_space_other_text_is_refused(text: str, words: str) -> None:
    with pytest.raises(BuildError, match=words):
        parse_space(text, "policy.observation_space")


@pytest.mark.parametrize(
    "spaces",
    [
        "OrderedDict([('a', Discrete(2)), ('b', Discrete(3)])",
        "OrderedDict([('a', Discrete(2))",
        "OrderedDict([('a' Discrete(2))])",
        "{'a': Discrete(2)]",
        "['a': Discrete(2), object]",
        "mappingproxy({})",
        7,
    ],
)
def test_read_space_truncated_parts_are_refused(spaces: Any) -> None:
    with pytest.raises(BuildError, match="only unpickling could read"):
        read_space(DICT | {"spaces": spaces}, "observation space")
