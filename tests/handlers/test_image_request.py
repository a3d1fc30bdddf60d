import base64
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.handlers.archives import encoded, png
from tests.handlers.conftest import Load
from tests.handlers.worker import Worker, parsed, picture, request

GREEN = png((0, 255, 0))
TEXT = base64.b64encode(GREEN).decode()
URL = f"data:image/png;base64,{TEXT}"
LIST = [[[0, 255, 0]] * 4] * 3
JPEG = encoded(np.full((20, 30, 3), (0, 254, 0), dtype=np.uint8), "JPEG")

ACCEPTED: dict[str, tuple[dict[str, Any], int]] = {
    "raw-bytes": (picture(GREEN), 1),
    "raw-bytes-without-type": (request(bytearray(GREEN)), 1),
    "raw-bytes-of-another-image-type": (request(bytearray(JPEG), "image/jpeg"), 1),
    "raw-bytes-as-octet-stream": (request(bytearray(GREEN), "application/octet-stream"), 1),
    "base64-as-text": (request(TEXT, "text/plain"), 1),
    "base64-as-text-with-parameters": (request(TEXT, "text/plain; charset=utf-8"), 1),
    "base64-as-bytes": (request(bytearray(TEXT.encode())), 1),
    "base64-with-line-breaks": (request("\n".join([TEXT[:40], TEXT[40:]]), "text/plain"), 1),
    "data-url-as-text": (request(URL, "text/plain"), 1),
    "data-url-as-bytes": (request(bytearray(URL.encode())), 1),
    "data-url-without-type": (request(f"data:;base64,{TEXT}", "text/plain"), 1),
    "json-text": (parsed(TEXT), 1),
    "json-image": (parsed({"image": TEXT}), 1),
    "json-image-data-url": (parsed({"image": URL}), 1),
    "json-image-list": (parsed({"image": LIST}), 1),
    "json-unparsed": (request(bytearray(b'{"image": "%s"}' % TEXT.encode()), "application/json"), 1),
    "json-of-another-name": (request(bytearray(b'{"image": "%s"}' % TEXT.encode()), "application/x+json"), 1),
    "instances-of-objects": (parsed({"instances": [{"image": TEXT}, {"image": URL}, {"image": LIST}]}), 3),
    "instances-of-text": (parsed({"instances": [TEXT, URL]}), 2),
    "instances-of-lists": (parsed({"instances": [LIST]}), 1),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_picture_is_read(vision: Worker, name: str) -> None:
    item, count = ACCEPTED[name]
    assert [prediction["label"] for prediction in vision.one(item).predictions] == ["green"] * count


def test_a_multipart_field_named_data_is_read(vision: Worker) -> None:
    parameter = {"name": "data", "contentType": "image/png", "value": bytearray(GREEN)}
    answer = vision.one({"requestId": b"", "headers": [], "parameters": [parameter]})
    assert answer.predictions[0]["label"] == "green"


def test_a_grey_list_is_read(vision: Worker) -> None:
    probabilities = vision.one(parsed({"image": [[9, 9], [9, 9]]})).predictions[0]["probabilities"]
    assert len(set(probabilities.values())) == 1


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "empty-body": (picture(b""), 400, "empty"),
    "no-picture": (picture(b"\x01\x02\x03"), 400, "not a picture"),
    "letters-declared-a-picture": (picture(b"nopicture"), 400, "not a picture"),
    "truncated": (picture(GREEN[:-30]), 400, "truncated"),
    "broken-json": (request(bytearray(b'{"image": '), "application/json"), 400, "not valid JSON"),
    "json-depth-bomb": (request(bytearray(b"[" * 100_000), "application/json"), 400, "not valid JSON"),
    "broken-base64": (parsed({"image": TEXT[:-3] + "!"}), 400, "base64 is broken"),
    "base64-cut-short": (parsed({"image": TEXT[:41]}), 400, "base64 is broken"),
    "base64-beyond-ascii": (request("bild\u00e4", "text/plain"), 400, "base64 is broken"),
    "base64-of-nothing": (parsed({"image": ""}), 400, "empty"),
    "base64-of-text": (parsed({"image": base64.b64encode(b"hello").decode()}), 400, "not a picture"),
    "data-url-not-base64": (parsed({"image": "data:image/png,abc"}), 400, "must end its head"),
    "data-url-of-text": (parsed({"image": f"data:text/html;base64,{TEXT}"}), 415, "text/html"),
    "video": (request(bytearray(GREEN), "video/mp4"), 415, "video/mp4"),
    "pdf": (request(bytearray(GREEN), "application/pdf"), 415, "application/pdf"),
    "missing-field": (parsed({}), 422, "missing field: image"),
    "other-field": (parsed({"picture": TEXT}), 422, "missing field: image"),
    "unknown-field": (parsed({"image": TEXT, "size": 3}), 422, "unknown field: size"),
    "image-is-a-number": (parsed({"image": 3}), 422, "image must be"),
    "image-is-null": (parsed({"image": None}), 422, "image must be"),
    "image-is-an-object": (parsed({"image": {}}), 422, "image must be"),
    "body-is-a-list": (parsed([TEXT]), 422, "send the bytes"),
    "body-is-null": (parsed(None), 422, "send the bytes"),
    "list-of-text": (parsed({"image": [["a"]]}), 422, "text instead of a number"),
    "list-of-booleans": (parsed({"image": [[True]]}), 422, "a boolean instead of a number"),
    "list-ragged": (parsed({"image": [[1, 2], [3]]}), 422, "same length"),
    "list-flat": (parsed({"image": [1, 2]}), 422, "neither"),
    "list-of-four-channels": (parsed({"image": [[[1, 2, 3, 4]]]}), 422, "neither"),
    "list-too-deep": (parsed({"image": [[[[1]]]]}), 422, "nested deeper"),
    "list-empty": (parsed({"image": []}), 422, "neither"),
    "list-of-empty-rows": (parsed({"image": [[], []]}), 422, "empty"),
    "list-beyond-255": (parsed({"image": [[256]]}), 422, "0 to 255"),
    "list-below-0": (parsed({"image": [[-1]]}), 422, "0 to 255"),
    "list-of-fractions": (parsed({"image": [[0.5]]}), 422, "0 to 255"),
    "list-not-finite": (parsed({"image": [[float("nan")]]}), 422, "not finite"),
    "instances-empty": (parsed({"instances": []}), 422, "not empty"),
    "instances-no-list": (parsed({"instances": TEXT}), 422, "must be a list"),
    "instances-with-more": (parsed({"instances": [TEXT], "image": TEXT}), 422, "unknown field beside instances: image"),
    "one-of-the-instances": (parsed({"instances": [TEXT, {"image": 3}]}), 422, "instances[1]: image must be"),
    "one-list-of-the-instances": (parsed({"instances": [LIST, [[300]]]}), 422, "instances[1]: pixel values"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_is_refused_with_its_reason(vision: Worker, name: str) -> None:
    item, status, words = REFUSED[name]
    answer, neighbour = vision.answer(item, picture(GREEN))
    assert answer.status == status
    assert words in answer.json["detail"]
    assert neighbour.predictions[0]["label"] == "green"


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_a_nest_of_lists_is_not_followed(vision: Worker) -> None:
    assert vision.one(parsed({"image": nested(900)})).error == (422, "invalid_fields")


def test_the_cards_pixel_limit_holds(vision_with: Load) -> None:
    worker = vision_with(limits={"max_pixels": 63, "max_instances": 9})
    assert worker.one(picture(png((0, 255, 0), (9, 7)))).status == 200
    over = worker.one(picture(png((0, 255, 0), (8, 8))))
    assert over.error == (413, "too_large")
    assert over.phrase == "Payload Too Large"
    assert worker.one(parsed({"image": [[0] * 64]})).error == (413, "too_large")


def test_a_limit_above_pillows_own_is_reached(vision_with: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    large = picture(png((0, 255, 0), (9, 7)))
    assert vision_with(limits={"max_pixels": 63, "max_instances": 9}).one(large).status == 200
