"""Business logic before and after a prediction, with the example that the documentation shows."""

import asyncio
import json
import logging
from dataclasses import replace
from typing import Any

import pytest
import requests

from business import BUSINESS
from errors import InvalidFields
from gateway.examples import PICTURE, PICTURE_BASE64
from gateway.hooks import After, Before, Business, Prediction, PredictionRequest, Reply
from tests.gateway.engine import Engine
from tests.gateway.served import gateway_for

DIGITS = "/models/digits/predict"


async def refuse_tiny(request: PredictionRequest) -> PredictionRequest:
    """Refuses PNG pictures of fewer than 16 pixels a side; width and height stand at bytes 16 to 24."""
    if int.from_bytes(request.body[16:20]) < 16 or int.from_bytes(request.body[20:24]) < 16:
        raise InvalidFields("the picture is smaller than 16 by 16")
    return request


async def only_sure(prediction: Prediction) -> Prediction:
    """Drops classes below a half."""
    kept = [
        {**each, "probabilities": {name: value for name, value in each["probabilities"].items() if value >= 0.5}}
        for each in prediction.predictions
    ]
    return prediction.with_predictions(kept)


async def to_the_right(request: PredictionRequest) -> PredictionRequest:
    return replace(request, body=json.dumps({**request.json(), "cart_position": 1}).encode())


async def to_another_version(request: PredictionRequest) -> PredictionRequest:
    return replace(request, version="2.0")


async def closed(_: PredictionRequest) -> Reply:
    return Reply({"closed": True}, 418)


async def summary(prediction: Prediction) -> Reply:
    return Reply({"count": len(prediction.predictions)})


async def broken(_: Any) -> Any:
    raise ZeroDivisionError("a secret of the company")


async def endless(_: Any) -> Any:
    await asyncio.Event().wait()


async def impatient(_: Any) -> Any:
    async with asyncio.timeout(0):
        await asyncio.Event().wait()


def ask(
    engine: Engine, before: Before | None = None, after: After | None = None, path: str = DIGITS, **sent: Any
) -> requests.Response:
    befores, afters = ({"*": before} if before else {}), ({"*": after} if after else {})
    with gateway_for(engine, business=Business(befores, afters)) as gateway:
        return requests.post(gateway + path, timeout=30, **(sent or {"data": PICTURE}))


def test_tiny_pictures_can_be_refused(engine: Engine) -> None:
    answer = ask(engine, before=refuse_tiny)
    assert (answer.status_code, answer.json()["detail"]) == (422, "the picture is smaller than 16 by 16")


def test_an_answer_can_be_thresholded(engine: Engine) -> None:
    content = ask(engine, after=only_sure).json()
    assert content["predictions"][0]["probabilities"] == {"7": 0.75}
    assert content["model"] == "digits"


def test_a_changed_answer_reaches_the_short_routes_too(engine: Engine) -> None:
    answer = ask(engine, after=only_sure, path="/predict_proba", files={"image": ("p.png", PICTURE)})
    assert answer.json() == {"7": 0.75}


def test_a_state_can_be_changed_on_its_way(engine: Engine) -> None:
    states = ({"cart_position": 5, "x": 2}, {"cart_position": 7, "x": 2})
    echoes = [ask(engine, before=to_the_right, path="/models/cartpole/predict", json=each).json() for each in states]
    assert echoes[0] == echoes[1] | {"echo": echoes[0]["echo"]}
    assert echoes[0]["echo"]["sha256"] == echoes[1]["echo"]["sha256"]


def test_a_request_can_be_sent_to_another_version(engine: Engine) -> None:
    assert ask(engine, before=to_another_version).json()["version"] == "2.0"


def test_business_logic_can_answer_itself(engine: Engine) -> None:
    answer = ask(engine, before=closed)
    assert (answer.status_code, answer.json()) == (418, {"closed": True})
    assert ask(engine, after=summary).json() == {"count": 1}


@pytest.mark.parametrize("hooks", [{"before": broken}, {"after": broken}, {"before": impatient}])
def test_an_exception_there_is_a_500_with_a_request_id_and_no_words_of_it(
    engine: Engine, hooks: dict[str, Any]
) -> None:
    answer = ask(engine, **hooks)
    assert answer.status_code == 500
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text


def test_business_logic_that_never_ends_is_cut_off_at_the_deadline(engine: Engine) -> None:
    answer = ask(engine, before=endless, data=PICTURE, headers={"X-Deadline-Ms": "200"})
    assert answer.status_code == 504


def test_logic_of_one_model_leaves_the_others_alone(engine: Engine) -> None:
    with gateway_for(engine, business=Business(before={"cartpole": broken})) as gateway:
        assert requests.post(gateway + DIGITS, data=PICTURE, timeout=30).status_code == 200


def test_the_shipped_example_refuses_stubs_and_changes_nothing_else(
    engine: Engine, gateway: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with gateway_for(engine, business=BUSINESS) as shipped:
        assert requests.post(shipped + DIGITS, data=PICTURE[:20], timeout=30).status_code == 400
        headers = {"X-Request-Id": "same"}
        with_it = requests.post(shipped + DIGITS, json={"image": PICTURE_BASE64}, headers=headers, timeout=30)
    without = requests.post(gateway + DIGITS, json={"image": PICTURE_BASE64}, headers=headers, timeout=30)
    assert with_it.content == without.content
    assert "unsure" not in caplog.text
