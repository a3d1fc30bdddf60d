"""Pieces that need no engine: response forms, verdicts, logs, server options, the import."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import settings
from engines.torchserve.error_responses import error_from_response, is_key_refused
from errors import ConfigError, Internal, InvalidFields, RequestError
from gateway import server
from gateway.dialects.short_routes import action, label, label_confidence, probabilities, single
from gateway.http.body import Body
from gateway.http.payload import state
from gateway.model_card import input_schema, public
from handlers.json_log import JsonFormatter
from logs import current_request_id, event, request_context

ROOT = Path(__file__).resolve().parents[2]
GENRES = {"labels": ["Drama"], "probabilities": {"Comedy": 0.2, "Drama": 0.9}}


def test_short_route_label_of_multilabel_is_the_most_probable() -> None:
    assert label(GENRES) == {"prediction": "Drama"}
    assert label_confidence(GENRES)["prediction"] == {"label": "Drama", "confidence": 0.9}
    assert probabilities(GENRES) == GENRES["probabilities"]


@pytest.mark.parametrize("predictions", [[], [{"label": "7"}], [{"action": 1}, {"action": 1}]])
def test_short_route_unfit_response_is_internal_error(predictions: list[Any]) -> None:
    with pytest.raises(Internal):
        single({"predictions": predictions}, action)


ENGINES_ANSWERS = {
    "no worker": (503, {"code": 503, "type": "ServiceUnavailableException", "message": "x"}, 503, "no_worker"),
    "handler raised": (503, {"code": 503, "type": "InternalServerException", "message": "x"}, 500, "internal"),
    "worker lost": (500, {"code": 500, "type": "InternalServerException", "message": "x"}, 503, "no_worker"),
    "out of memory": (507, {"code": 507, "message": "x"}, 503, "no_worker"),
    "timeout": (408, {"code": 408, "message": "x"}, 504, "deadline_passed"),
    "unknown": (404, {"code": 404, "type": "ModelNotFoundException", "message": "x"}, 404, "unknown_model"),
    "too large": (413, {"code": 413, "message": "x"}, 413, "too_large"),
    "odd": (302, {}, 500, "internal"),
    "odd 4xx": (405, {"code": 405, "message": "x"}, 500, "internal"),
    "handler's own": (422, {"error": "invalid_fields", "detail": "no x"}, 422, "invalid_fields"),
    "too late in the queue": (504, {"error": "deadline_passed", "detail": "late"}, 504, "deadline_passed"),
    "handler broke on this item": (500, {"error": "internal", "detail": "line 3"}, 500, "internal"),
}


@pytest.mark.parametrize(("status", "body", "told", "code"), ENGINES_ANSWERS.values(), ids=ENGINES_ANSWERS.keys())
def test_each_refusal_of_the_engine_has_its_meaning(status: int, body: Any, told: int, code: str) -> None:
    error: RequestError = error_from_response(status, json.dumps(body).encode(), "digits")
    assert (error.status, error.code) == (told, code)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b"\xff"])
def test_a_refusal_that_is_not_json_is_understood_by_its_status(body: bytes) -> None:
    assert error_from_response(503, body, "digits").status == 503
    assert not is_key_refused(400, body)


def test_public_card_leaves_out_provenance() -> None:
    card = {"kind": "vision", "labels": ["a"], "provenance": {"command": "/home/me"}, "request_params": {}}
    assert "/home/me" not in json.dumps(public(card))
    assert public(card)["labels"] == ["a"]


def test_input_schema_policy_without_names_is_an_array() -> None:
    card = {"kind": "policy", "observation": {"fields": None, "space": {"type": "box", "shape": [8]}}}
    schema = input_schema(card)
    assert schema is not None
    assert schema["json_schema"]["type"] == "array"


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        ({"observation": [0.5], "achieved_goal": [0.5], "desired_goal": [0.5]}, True),
        ({"instances": [0.5], "x": [0.5]}, True),
        ({"instances": [[0.5]]}, False),
        ({"instances": [[0.5]], "deterministic": False, "seed": 3}, False),
    ],
)
def test_short_route_of_states_takes_parts_of_any_name_and_no_list_of_states(content: Any, taken: bool) -> None:
    body = Body("application/json", {}, json.dumps(content).encode())
    if taken:
        assert state(body, "policy").data == body.data
        return
    with pytest.raises(InvalidFields, match="must be one state"):
        state(body, "policy")


def test_input_schema_policy_has_pictures_parts_and_options() -> None:
    picture = {"type": "box", "shape": [3, 84, 84], "dtype": "uint8", "low": 0, "high": 255}
    parts = [{"key": "camera", "space": picture}, {"key": "speed", "space": {"type": "box", "shape": [2]}}]
    drawn = {"type": "categorical", "masks": True}
    card = {
        "kind": "policy",
        "observation": {"space": {"type": "dict", "spaces": parts}},
        "action": {"distribution": drawn},
    }
    schema = input_schema(card)
    assert schema is not None
    assert schema["json_schema"]["required"] == ["camera", "speed"]
    lists, file, raw = schema["json_schema"]["properties"]["camera"]["anyOf"]
    assert (lists["x-shape"], file["contentMediaType"], raw["required"]) == ([3, 84, 84], "image/*", ["b64"])
    assert set(schema["options"]) == {"deterministic", "seed", "action_masks"}


def test_log_line_is_json_with_the_request_id(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    token = current_request_id.set("order-66")
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        event(logging.getLogger("test"), logging.INFO, "happened", exc_info=error, model="digits")
    line = JsonFormatter(request_context).format(caplog.records[0])
    current_request_id.reset(token)
    content = json.loads(line)
    assert "\n" not in line
    assert (content["event"], content["model"], content["request_id"]) == ("happened", "digits", "order-66")
    assert "ValueError" in content["exception"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_check_host_refuses_other_than_loopback(host: str) -> None:
    with pytest.raises(ConfigError, match="insecure"):
        server.options(settings.load([f"gateway.host='{host}'"]).gateway)
    allowed = settings.load([f"gateway.host='{host}'", "gateway.insecure=true"]).gateway
    assert server.options(allowed)["host"] == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_check_host_allows_loopback(host: str) -> None:
    assert server.options(settings.load([f"gateway.host='{host}'"]).gateway)["host"] == host


def test_the_program_refuses_an_open_host_in_one_line() -> None:
    command = [sys.executable, "app.py", "gateway.host=0.0.0.0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_importing_the_gateway_brings_nothing_that_runs_a_model() -> None:
    heavy = ("torch", "numpy", "PIL", "simplejpeg", "serialize")
    program = f"import sys, app; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
