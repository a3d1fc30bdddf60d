"""How much one request may hold, whatever form it comes in, and that gateway and worker judge one text alike."""

import asyncio
import base64
import json
from typing import Any

import pytest
import requests

from errors import RequestError, TooLarge
from gateway.examples import PICTURE, PICTURE_BASE64
from gateway.http.body import Body
from gateway.http.payload import any_form, check_limits, from_base64
from gateway.metrics import Metrics
from gateway.oip.infer_messages import Tensor
from gateway.oip.tensor_metadata import inputs_of
from gateway.scheduling.coalesce import Coalescer, reader_for
from gateway.tracing import NoTracer
from handlers import image_request
from settings.schema import CoalesceSettings
from tests.gateway.engine import POLICY, VISION
from tests.gateway.stage_parts import CARD, GivenEngine, request
from tests.handlers.files import flat_png

BOMB = flat_png(20_000, 20_000)
TEXT = base64.b64encode(BOMB).decode()
MANY = [PICTURE_BASE64] * 65
STATE = [0.1, 0.2, 0.01, -0.2]
BOUNDARY = {b"boundary": b"b"}
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    + BOMB
    + b"\r\n--b--\r\n"
)


def body(content: Any, media_type: str = "application/json", options: dict[bytes, bytes] | None = None) -> Body:
    return Body(media_type, options or {}, content if isinstance(content, bytes) else json.dumps(content).encode())


FORMS: dict[str, tuple[Body, dict[str, Any]]] = {
    "raw": (body(BOMB, "image/png"), VISION),
    "raw-of-no-type": (body(BOMB, "application/octet-stream"), VISION),
    "base64-of-no-type": (body(TEXT.encode(), "application/octet-stream"), VISION),
    "multipart": (body(FORM, "multipart/form-data", BOUNDARY), VISION),
    "image": (body({"image": TEXT}), VISION),
    "data-url": (body({"image": f"data:image/png;base64,{TEXT}"}), VISION),
    "instances-of-text": (body({"instances": [TEXT]}), VISION),
    "instances-of-objects": (body({"instances": [{"image": TEXT}]}), VISION),
    "too-many-instances": (body({"instances": MANY}), VISION),
    "too-many-states": (body([STATE] * 4097), POLICY),
    "too-many-named-states": (body({"instances": [STATE] * 4097}), POLICY),
    "raw-to-a-model-without-a-card": (body(BOMB, "image/png"), {}),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_a_request_is_held_to_the_limits(name: str) -> None:
    sent, card = FORMS[name]
    payload = any_form(sent, card.get("kind"))
    with pytest.raises(TooLarge, match=r"that one (request )?may have"):
        check_limits(payload, card)
    check_limits(payload, {**card, "limits": {"max_pixels": 20_000**2, "max_instances": 4097}})


FRAMES = {"kind": "policy", "observation": {"space": {"type": "box", "shape": [84, 84, 4], "dtype": "uint8"}}}
TENSORS: dict[str, tuple[Tensor, dict[str, Any]]] = {
    "json": (Tensor("image", "BYTES", (1,), [TEXT]), VISION),
    "raw": (Tensor("image", "BYTES", (1,), [BOMB]), VISION),
    "raw-of-text": (Tensor("image", "BYTES", (1,), [TEXT.encode()]), VISION),
    "raw-of-two": (Tensor("image", "BYTES", (2,), [PICTURE, BOMB]), VISION),
    "raw-of-two-texts": (Tensor("image", "BYTES", (2,), [PICTURE, TEXT.encode()]), VISION),
    "too-many": (Tensor("image", "BYTES", (65,), [PICTURE] * 65), VISION),
    "too-many-states": (Tensor("observation", "FP32", (4097, 4), STATE * 4097), POLICY),
    "too-many-frames": (Tensor("observation", "UINT8", (2, 84, 84, 4), [0] * (2 * 84 * 84 * 4)), FRAMES),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_are_held_to_the_limits(name: str) -> None:
    tensor, card = TENSORS[name]
    card = {**card, "limits": {"max_pixels": 10_000, "max_instances": 4096 if card is POLICY else 64}}
    reads = inputs_of(card)
    assert reads is not None
    with pytest.raises(TooLarge):
        check_limits(reads.payload([tensor]), card)


def test_json_for_a_model_without_a_card_is_its_handlers_to_judge() -> None:
    check_limits(any_form(body({"instances": [TEXT] * 65}), None), {})


def test_a_request_over_the_limits_is_refused_in_words(gateway: str) -> None:
    for content in ({"instances": MANY}, {"instances": [TEXT, PICTURE_BASE64]}, {"image": TEXT}):
        answer = requests.post(f"{gateway}/models/digits/predict", json=content, timeout=30)
        assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
        assert "may have" in answer.json()["detail"]
    many = {"name": "image", "datatype": "BYTES", "shape": [65], "data": MANY}
    answer = requests.post(f"{gateway}/v2/models/digits/infer", json={"inputs": [many]}, timeout=30)
    assert (answer.status_code, "65 instances" in answer.json()["error"]) == (413, True)


@pytest.mark.anyio
async def test_no_coalesced_request_is_larger_than_a_worker_takes() -> None:
    engine, reader = GivenEngine(), reader_for({**CARD, "limits": {"max_pixels": 1, "max_instances": 3}})
    settings = CoalesceSettings(enabled=True, max_batch=128, max_delay_ms=1000)
    shared = Coalescer(engine, settings, lambda *_: reader, Metrics(), NoTracer())
    states = [[number, 0, 0, 0] for number in range(7)]
    await asyncio.gather(*(shared.predict(request(each)) for each in states))
    together = [len(json.loads(each.body)["instances"]) for each in engine.seen if b"instances" in each.body]
    assert max(together) == 3


URLS = {
    "plain": PICTURE_BASE64,
    "wrapped": "\r\n".join([PICTURE_BASE64[:40], PICTURE_BASE64[40:]]),
    "url": f"data:image/png;base64,{PICTURE_BASE64}",
    "url-in-capitals": f"DATA:IMAGE/PNG;BASE64,{PICTURE_BASE64}",
    "url-of-no-type": f"data:;base64,{PICTURE_BASE64}",
    "url-with-a-parameter": f"data:image/png;x={'y' * 300};base64,{PICTURE_BASE64}",
    "url-of-text": f"data:text/plain;base64,{PICTURE_BASE64}",
    "url-with-a-parameter-behind": f"data:image/png;base64;x=1,{PICTURE_BASE64}",
    "url-not-base64": f"data:image/png,{PICTURE_BASE64}",
    "url-without-an-end": "data:image/png;base64",
    "broken": PICTURE_BASE64[:-3] + "!",
    "cut-short": PICTURE_BASE64[:41],
    "of-the-web": PICTURE_BASE64.translate(str.maketrans("+/", "-_")),
    "without-padding": PICTURE_BASE64.rstrip("="),
    "after-a-byte-order-mark": "\ufeff" + PICTURE_BASE64,
    "beyond-ascii": "bildä",
    "empty": "",
    "empty-url": "data:image/png;base64,",
}


@pytest.mark.parametrize("name", URLS)
def test_gateway_and_worker_judge_a_text_alike(name: str) -> None:
    """{"image": ...} is read by the gateway, {"instances": [...]} by the worker."""
    text = URLS[name]

    def outcome(read: Any) -> Any:
        try:
            return read()
        except RequestError as error:
            return error.status, error.code, error.detail

    by_gateway = outcome(lambda: from_base64(text)[1])
    assert by_gateway == outcome(lambda: image_request.read({"image": text}, "application/json")[0])
    assert by_gateway == PICTURE or by_gateway[0] in (400, 415)
