"""When two versions have answered alike."""

import json

import pytest

from gateway.compare import compare


def predictions(*each: object) -> bytes:
    return json.dumps({"model": "m", "version": "1", "predictions": each}).encode()


def picture(label: str, sure: float) -> dict[str, object]:
    return {"label": label, "confidence": sure, "probabilities": {label: sure, "other": 1 - sure}}


@pytest.mark.parametrize(
    ("old", "new", "differs", "change"),
    [
        ([picture("7", 0.9)], [picture("7", 0.6)], False, 0.3),
        ([picture("7", 0.9)], [picture("1", 0.9)], True, 0.0),
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
def test_answers_differ_by_what_is_acted_upon(
    old: list[object], new: list[object], differs: bool, change: float
) -> None:
    found = compare(predictions(*old), predictions(*new), 0.001)
    assert found.differs is differs
    assert found.change == pytest.approx(change)


def test_what_is_no_answer_differs_from_all_but_itself() -> None:
    assert compare(b"x", b"y", 0.1).differs
    assert not compare(b"x", b"x", 0.1).differs
    assert compare(b"[]", b"{}", 0.1).differs
