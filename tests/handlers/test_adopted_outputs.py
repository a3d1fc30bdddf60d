"""Whole responses of an adopted archive: recorded as JSON or bytes, and compared by tolerance or exactly."""

import base64
import json
from typing import Any

import pytest

from handlers import golden, outputs
from handlers.json_object import JsonObject
from handlers.outputs import HandlerResponse, adopted


def response(content: object, status: int = 200, **headers: str) -> HandlerResponse:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return HandlerResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def expected(content: object, status: int = 200, **headers: str) -> list[Any]:
    return [adopted.recorded(response(content, status, **headers))]


def test_body_is_json_where_its_type_does_not_say_otherwise() -> None:
    assert expected([1, "a"]) == [{"answer": {"status": 200, "headers": {}, "json": [1, "a"]}}]
    assert expected({"a": 1}, content_type="application/vnd.own+json; x=y")[0]["answer"]["json"] == {"a": 1}
    as_text = expected([1], content_type="text/plain")[0]["answer"]
    assert base64.b64decode(as_text["base64"]) == b"[1]"


@pytest.mark.parametrize("body", [b"\x89PNG", b"[NaN]", b"[1e999]", b"[" * 40 + b"]" * 40, b'"\\ud800"'])
def test_body_that_no_document_can_hold_as_json_is_kept_as_bytes(body: bytes) -> None:
    assert base64.b64decode(expected(body)[0]["answer"]["base64"]) == body


def test_headers_of_the_engine_are_not_recorded() -> None:
    found = expected(1, pragma="no-cache", x_worker_pid="7", x_model_version="1.0", x_mood="good")
    assert found[0]["answer"]["headers"] == {"x-mood": "good"}


@pytest.mark.parametrize(
    ("given", "miss"),
    [
        (response([1.00005, "a"]), None),
        (response([1.2, "a"]), "is answered differently: $[0][0] is 1.2 instead of 1.0, off by 0.167"),
        (response([1.0, "b"]), "is answered differently: $[0][1] is 'b' instead of 'a'"),
        (response([1.0, "a"], 201), "is answered differently: $[0].status is 201 instead of 200, off by 1"),
        (response(b"\x00"), "is answered differently: $[0] is None instead of [1.0, 'a']"),
    ],
    ids=["close", "far", "text", "status", "bytes"],
)
def test_golden_answer_is_compared_by_tolerance(given: HandlerResponse, miss: str | None) -> None:
    assert golden.response_misses(expected([1.0, "a"]), given, 1e-3) == miss


def test_large_numbers_are_compared_relatively() -> None:
    assert golden.response_misses(expected([100000.0]), response([100001.0]), 1e-3) is None
    assert golden.response_misses(expected([100000.0]), response([101000.0]), 1e-3) is not None


def test_whole_numbers_are_compared_exactly() -> None:
    assert golden.response_misses(expected({"class_id": 20481}), response({"class_id": 20482}), 1e-4) is not None
    assert golden.response_misses(expected({"class_id": 20481}), response({"class_id": 20481}), 1e-4) is None


def test_header_that_was_recorded_must_be_the_same() -> None:
    known = expected(1, x_mood="good")
    assert golden.response_misses(known, response(1, x_mood="good", x_new="1"), 0.1) is None
    found = golden.response_misses(known, response(1, x_mood="bad"), 0.1)
    assert found == "is answered differently: $[0].headers.x-mood is 'bad' instead of 'good'"


def test_golden_none_compares_the_status_alone() -> None:
    known = [{"answer": {"status": 404}}]
    assert golden.response_misses(known, response(b"anything", 404), 0.1) is None
    assert golden.response_misses(known, response(b"anything", 200), 0.1) is not None


def test_comparison_of_two_versions_names_the_first_difference_and_the_change() -> None:
    one, two = expected([1.0, 2.0])[0], expected([1.5, 2.0])[0]
    assert adopted.KIND.compare(one, one, 0.1).differs is False
    found = adopted.KIND.compare(one, two, 0.1)
    assert (found.differs, found.first) == (True, (1.0, 1.5))
    assert adopted.KIND.compare(one, two, 0.5).differs is False
    assert adopted.KIND.compare(one, two, 0.5).change == pytest.approx(1 / 3)


def test_own_models_are_compared_as_before() -> None:
    body = json.dumps({"predictions": [1]}).encode()
    assert golden.response_misses([1], HandlerResponse(200, {}, body), 0) is None
    assert golden.response_misses([1], HandlerResponse(503, {}, b"busy"), 0) == "got 503: busy"
    found = golden.response_misses([1], HandlerResponse(200, {}, b"{}"), 0)
    assert found == "is answered differently: b'{}' holds no predictions to compare"


def test_network_cannot_be_of_this_kind() -> None:
    assert outputs.of_card({"kind": "adopted"}) is adopted.KIND
    with pytest.raises(ValueError, match="must not be adopted"):
        adopted.KIND.settings(JsonObject({}, "model.json"))
