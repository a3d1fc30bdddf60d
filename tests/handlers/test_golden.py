import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from handlers import golden
from tests.handlers.archives import vision_golden


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({"a": 1.0, "b": [1, "x", None, True]}, {"b": [1, "x", None, True], "a": 1.0}),
        ([{"action": 1}], [{"action": 1.0}]),
        ([0.5], [0.50009]),
        ([], []),
    ],
    ids=["order-of-keys", "whole-and-floating", "inside-tolerance", "empty"],
)
def test_answers_agree(expected: Any, actual: Any) -> None:
    assert golden.exceeds_tolerance(expected, actual, 1e-4) is None


@pytest.mark.parametrize(
    ("expected", "actual", "path"),
    [
        ({"a": {"b": [0, 0.5]}}, {"a": {"b": [0, 0.6]}}, "$.a.b[1]"),
        ([{"action": 0}], [{"action": 1}], "$[0].action"),
        ([1, 2], [1], "$"),
        ({"a": 1}, {"b": 1}, "$"),
        ({"a": "x"}, {"a": "y"}, "$.a"),
        ([True], [1], "$[0]"),
        ([1], [None], "$[0]"),
        ([0.5], [math.nan], "$[0]"),
        ([0.0], [math.inf], "$[0]"),
    ],
    ids=["number", "action", "length", "keys", "text", "boolean", "null", "nan", "infinite"],
)
def test_answers_differ_at_a_named_place(expected: Any, actual: Any, path: str) -> None:
    difference = golden.exceeds_tolerance(expected, actual, 1e-4)
    assert difference is not None
    assert difference.path == path


def test_worst_returns_the_largest_difference() -> None:
    difference = golden.worst({"a": 0.1, "b": [0.5, 0.2]}, {"a": 0.2, "b": [0.0, 0.2]})
    assert str(difference) == "$.b[0] is 0.0 instead of 0.5, off by 0.5"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"predictions": [0.5]}', None),
        (b'{"predictions": [0.6]}', None),
        (b'{"predictions": [0.7]}', r"\$\[0\] is 0\.7 instead of 0\.5, off by 0\.2"),
        (b'{"predictions": [NaN]}', r"\$\[0\] is nan"),
        (b'{"predictions": ["0.5"]}', r"\$\[0\] is '0\.5'"),
        (b"hello", "b'hello' holds no predictions to compare"),
        (b"[1]", "holds no predictions"),
        (b"{}", "holds no predictions"),
        (b'{"predictions": [' + b"1" * 5000 + b"]}", "holds no predictions"),
        (b'{"predictions": [1' + b"0" * 400 + b"]}", "holds no predictions|off by"),
        (b'{"predictions": ' + b"[" * 100_000, "holds no predictions"),
        (b"\xff", "holds no predictions"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_misses_describes_any_body_in_one_line(body: bytes, words: str | None) -> None:
    told = golden.misses([0.5], body, 0.1 + 1e-9)
    if words is None:
        assert told is None
    else:
        assert told is not None
        assert re.search(words, told)
        assert len(told) < 1000


def test_golden_answers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "golden.json"
    path.write_text(json.dumps(vision_golden()))
    read = golden.load(path)
    assert read.tolerance == 1e-4
    assert read.samples[0].row["body"].startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tolerance": "small"}, "tolerance must be a number"),
        ({"tolerance": math.nan}, "tolerance must be a number"),
        ({"tolerance": 1e9}, "tolerance must be a number from 0 to 1"),
        ({"tolerance": -1e-9}, "tolerance must be a number from 0 to 1"),
        ({"samples": [{"content_type": "image/png", "body": "ß", "predictions": [1]}]}, "body is not base64"),
        ({"samples": []}, "samples must be a list that is not empty"),
        ({"samples": [3]}, "sample 0: body is missing"),
        ({"samples": [{"content_type": "image/png", "body": "?", "predictions": [1]}]}, "body is not base64"),
        ({"samples": [{"content_type": "image/png", "body": "", "predictions": [1]}]}, "body must be text"),
        ({"samples": [{"content_type": "image/png", "body": "AAAA", "predictions": []}]}, "predictions must be a list"),
    ],
)
def test_broken_golden_answers_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "golden.json"
    path.write_text(json.dumps(vision_golden() | change))
    with pytest.raises(ValueError, match=words):
        golden.load(path)
