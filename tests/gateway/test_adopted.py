"""Requests and responses of adopted archives pass through the gateway unread."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from starlette.types import Message

from errors import Internal
from gateway.catalog import Catalog
from gateway.dialects import native
from gateway.hooks import Business, EngineResponse, PredictionRequest
from gateway.http.body import Body, BodyBudget, read_body
from gateway.http.context import RequestContext, attach
from gateway.http.forwarded import forwarded_headers, returned_headers
from gateway.http.payload import Payload, any_form, check_limits
from gateway.metrics import Metrics
from gateway.model_card import input_schema, kind_of
from gateway.pipeline import Pipeline
from gateway.scheduling.dedupe import Deduplicator
from gateway.tracing import NoTracer
from gateway.upstream.connections import ConnectionPool, RawResponse
from gateway.upstream.inference_client import InferenceClient
from tests.gateway.stage_parts import GivenEngine, now, request
from tests.gateway.test_inference_client import GivenConnections, GivenKeys
from tests.gateway.trial_parts import TRIAL, Setting

pytestmark = pytest.mark.anyio

CARD = {"kind": "adopted", "content_types": ["text/plain"]}
ZIP_BOMB = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\0\0\0\1\0\0\x08\2\0\0\0"


def adopted(content_type: str = "text/plain", **more: object) -> PredictionRequest:
    made = PredictionRequest("parrot", None, "adopted", content_type, b"hello", "r", now() + 60)
    return replace(made, **more)  # type: ignore[arg-type]


def handlers(body: bytes, status: int = 200, *headers: tuple[bytes, bytes]) -> EngineResponse:
    return EngineResponse(body, "", "1.0", status, headers)


class Given(GivenConnections):
    """A connection whose worker answers with this."""

    def __init__(self, response: RawResponse) -> None:
        super().__init__(None)
        self.response = response

    async def post(self, head: bytes, _: bytes) -> RawResponse:
        self.heads.append(head.decode())
        return self.response


async def sent(connections: Given, one: PredictionRequest) -> EngineResponse:
    pool = cast("ConnectionPool", connections)
    return await InferenceClient("engine:8080", pool, GivenKeys(), Metrics(), NoTracer()).predict(one)  # type: ignore[arg-type]


async def test_request_goes_on_with_its_own_headers_and_content_type() -> None:
    connections = Given(RawResponse(200, {b"x-worker-pid": b"7"}, b"hi"))
    await sent(connections, adopted("Text/Plain; a=B", headers=((b"x-who", b"me"),)))
    assert "Content-Type: Text/Plain; a=B\r\n" in connections.heads[0]
    assert "x-who: me\r\n" in connections.heads[0]
    await sent(connections, adopted(""))
    assert "Content-Type" not in connections.heads[1]


async def test_response_of_a_handler_is_passed_on_whatever_its_status() -> None:
    headers = {b"x-worker-pid": b"7", b"x-model-version": b"2.0", b"x-mood": b"good", b"content-type": b"text/html"}
    found = await sent(Given(RawResponse(418, headers | {b"content-length": b"2"}, b"hi")), adopted())
    written = native.write(found)
    assert (written.status, written.body) == (418, b"hi")
    assert sorted(written.headers) == [
        (b"content-length", b"2"),
        (b"content-type", b"text/html"),
        (b"x-model-version", b"2.0"),
        (b"x-mood", b"good"),
    ]


async def test_response_of_the_engine_itself_is_an_error_as_before() -> None:
    body = json.dumps({"code": 503, "type": "InternalServerException", "message": "Prediction failed"}).encode()
    with pytest.raises(Internal, match="model parrot failed on this request"):
        await sent(Given(RawResponse(503, {}, body)), adopted())


def test_status_without_a_body_has_no_length() -> None:
    written = native.write(handlers(b"", 204))
    assert (written.status, written.body) == (204, b"")
    assert [name for name, _ in written.headers] == [b"x-model-version"]


def test_headers_of_connection_gateway_and_engine_stay_behind() -> None:
    given = [(b"x-who", b"me"), (b"host", b"h"), (b"authorization", b"Bearer k"), (b"x-api-key", b"k")]
    given += [(b"connection", b"close"), (b"describe", b"True"), (b"x-deadline-ms", b"5"), (b"accept", b"*/*")]
    assert forwarded_headers(given) == ((b"x-who", b"me"), (b"accept", b"*/*"))
    assert returned_headers([(b"x-worker-pid", b"7"), (b"set-cookie", b"a=b")]) == ((b"set-cookie", b"a=b"),)


def test_body_is_not_read() -> None:
    body = Body("image/png", {}, ZIP_BOMB, "Image/PNG")
    payload = any_form(body, "adopted")
    assert payload == Payload("Image/PNG", ZIP_BOMB)
    check_limits(payload, CARD)


async def test_empty_and_compressed_bodies_pass() -> None:
    scope = {"type": "http", "headers": [(b"content-encoding", b"gzip")]}
    attach(scope, RequestContext("r", now()))

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    body = await read_body(scope, receive, BodyBudget(100, 100), unread=True)
    assert (body.data, body.content_type) == (b"", "")


def test_card_of_an_adopted_archive_accepts_everything() -> None:
    assert kind_of(CARD) == "adopted"
    assert input_schema(CARD) == {"content_types": ["text/plain"], "json_schema": {}}


class Handlers(GivenEngine):
    """Answers as an adopted archive's handler, differently for the version on trial."""

    def __init__(self, trial: EngineResponse, stable: EngineResponse) -> None:
        super().__init__()
        self.answers = {TRIAL: trial}
        self.stable = stable

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        self.seen.append(request)
        return self.answers.get(request.version or "", self.stable)


async def test_like_requests_are_not_computed_once() -> None:
    engine = Handlers(handlers(b"1"), handlers(b"1"))
    flights = Deduplicator(engine, Metrics())
    await asyncio.gather(*(flights.predict(adopted()) for _ in range(5)))
    assert len(engine.seen) == 5


async def test_business_logic_after_a_prediction_leaves_an_unread_response_alone() -> None:
    async def after(_: object) -> None:
        raise AssertionError

    engine = Handlers(handlers(b"1"), handlers(b"no JSON", 404))
    business = Business(after={"*": after})  # type: ignore[dict-item]
    found = await Pipeline(engine, business, cast("Catalog", None), Metrics()).predict(adopted())
    assert found == handlers(b"no JSON", 404)


@pytest.mark.parametrize(
    ("trial", "result"),
    [
        (handlers(b'{"a": 1.0001}'), "same"),
        (handlers(b'{"a": 1.5}'), "differs"),
        (handlers(b'{"a": 1.0}', 201), "differs"),
        (handlers(b'{"a": 1.0}', 200, (b"x-mood", b"bad")), "differs"),
        (handlers(b"\x00"), "differs"),
    ],
    ids=["close", "far", "status", "header", "bytes"],
)
async def test_shadow_compares_whole_responses(tmp_path: Path, trial: EngineResponse, result: str) -> None:
    stable = handlers(b'{"a": 1.0}', 200, (b"x-mood", b"good"))
    same = trial if trial.headers else replace(trial, headers=stable.headers)
    setting = Setting(tmp_path, Handlers(same, stable), weight=0.0, copies=1.0, tolerance=0.001)
    assert await setting.traffic.predict(request([1])) == stable
    deadline = now() + 5
    while setting.shadow._under_way:
        assert now() < deadline
        await asyncio.sleep(0.001)
    assert setting.count("shadow_total", version=TRIAL, result=result) == 1


async def test_canary_whose_handler_answers_a_server_error_is_answered_by_the_other_version(tmp_path: Path) -> None:
    stable = handlers(b"good")
    setting = Setting(tmp_path, Handlers(handlers(b"broken", 500), stable), weight=0.99)
    assert [await setting.traffic.predict(request([1])) for _ in range(10)] == [stable] * 10
    assert setting.counted(TRIAL, status=500) >= 9
