"""Every route and every form of request, through the gateway to a real engine."""

import base64
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from gateway.examples import PICTURE, PICTURE_BASE64

STATE = {"cart_position": 0.1, "cart_velocity": 0.2, "pole_angle": 0.01, "pole_angular_velocity": -0.2}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def upload(field: str, content: bytes = PICTURE, media_type: str = "image/png") -> dict[str, Any]:
    return {field: ("picture.png", content, media_type)}


FORMS = {
    "raw": ({"data": PICTURE, "headers": {"Content-Type": "image/png"}}, "image/png"),
    "octets": ({"data": PICTURE, "headers": {"Content-Type": "application/octet-stream"}}, "application/octet-stream"),
    "untyped": ({"data": PICTURE}, "application/octet-stream"),
    "streamed": ({"data": iter([PICTURE[:20], PICTURE[20:]]), "headers": {"Content-Type": "image/png"}}, "image/png"),
    "multipart": ({"files": upload("whatever")}, "image/png"),
    "base64": ({"json": {"image": PICTURE_BASE64}}, "application/octet-stream"),
    "wrapped_base64": ({"json": {"image": base64.encodebytes(PICTURE).decode()}}, "application/octet-stream"),
    "data_url": ({"json": {"image": f"data:image/png;base64,{PICTURE_BASE64}"}}, "image/png"),
}


@pytest.mark.parametrize(("sent", "media_type"), FORMS.values(), ids=FORMS.keys())
def test_a_picture_reaches_the_handler_as_the_same_raw_bytes_in_whatever_form_it_came(
    gateway: str, sent: dict[str, Any], media_type: str
) -> None:
    answer = requests.post(f"{gateway}/models/digits/predict", timeout=30, **sent)
    assert answer.status_code == 200, answer.text
    echo = answer.json()["echo"]
    assert (echo["sha256"], echo["type"], echo["parsed"]) == (sha256(PICTURE), media_type, False)


def test_the_handlers_answer_is_passed_on_unchanged(gateway: str) -> None:
    answer = requests.post(f"{gateway}/models/digits/predict", data=PICTURE, timeout=30)
    content = answer.json()
    assert answer.content == json.dumps(content).encode()  # Python's own spacing: nobody parsed and wrote it anew
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-model-version"] == content["version"]
    assert content["model"] == "digits"


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_a_named_version_answers(gateway: str, version: str) -> None:
    answer = requests.post(f"{gateway}/models/digits/versions/{version}/predict", data=PICTURE, timeout=30)
    assert answer.json()["version"] == version


def test_instances_are_passed_on_and_answered_in_one(gateway: str) -> None:
    body = {"instances": [{"image": PICTURE_BASE64}] * 3}
    answer = requests.post(f"{gateway}/models/digits/predict", json=body, timeout=30)
    assert len(answer.json()["predictions"]) == 3


@pytest.mark.parametrize("body", [STATE, [0.1, 0.2, 0.01, -0.2], {"instances": [STATE, STATE]}])
def test_a_state_reaches_the_policy_as_json(gateway: str, body: Any) -> None:
    answer = requests.post(f"{gateway}/models/cartpole/predict", json=body, timeout=30)
    assert answer.json()["echo"]["parsed"] is True
    assert answer.json()["predictions"][0] == {"action": 1}


def test_predict_proba_gives_every_class(gateway: str) -> None:
    answer = requests.post(f"{gateway}/predict_proba", files=upload("image"), timeout=30)
    assert answer.json() == {"7": 0.75, "1": 0.25}


def test_predict_gives_the_action_of_the_default_policy(gateway: str) -> None:
    assert requests.post(f"{gateway}/predict", json=STATE, timeout=30).json() == {"action": 1}


def test_predict_with_a_slash_is_another_route_and_gives_the_class(gateway: str) -> None:
    answer = requests.post(f"{gateway}/predict/", json={"image": PICTURE_BASE64}, timeout=30)
    assert answer.json() == {"prediction": "7"}


def test_classify_gives_label_and_confidence(gateway: str) -> None:
    answer = requests.post(f"{gateway}/classify", files=upload("anything"), timeout=30)
    assert answer.json() == {
        "status": "success",
        "message": "Class found for image was 7 with confidence 0.750.",
        "prediction": {"label": "7", "confidence": 0.75},
    }


def test_the_request_id_travels_to_the_handler_and_back(gateway: str) -> None:
    headers = {"X-Request-Id": "order 66"}
    answer = requests.post(f"{gateway}/models/digits/predict", data=PICTURE, headers=headers, timeout=30)
    assert answer.headers["x-request-id"] == answer.json()["echo"]["request_id"] == "order 66"


@pytest.mark.parametrize("offered", ["x" * 129, "tab\there", "caf\xe9", None])
def test_a_request_id_that_is_unsafe_or_missing_is_replaced(gateway: str, offered: str | None) -> None:
    headers = {} if offered is None else {"X-Request-Id": offered.encode("latin-1")}
    answer = requests.get(f"{gateway}/healthz", headers=headers, timeout=30)
    assert len(answer.headers["x-request-id"]) == 32


def test_concurrent_requests_each_get_their_own_answer(gateway: str) -> None:
    def predict(number: int) -> bool:
        content = PICTURE + str(number).encode()
        headers = {"X-Request-Id": f"request-{number}"}
        answer = requests.post(f"{gateway}/models/digits/predict", data=content, headers=headers, timeout=60)
        echo = answer.json()["echo"]
        return (echo["sha256"], echo["request_id"]) == (sha256(content), f"request-{number}")

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(predict, range(64)))


def test_a_bad_item_of_a_batch_is_refused_alone(gateway: str) -> None:
    def status(content: bytes) -> int:
        return requests.post(f"{gateway}/models/digits/predict", data=content, timeout=60).status_code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(status, [PICTURE, b"bad"] * 8)) == [200, 400] * 8
