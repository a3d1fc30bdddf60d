"""The protocol under /v2 byte by byte: JSON, the binary tensor extension, errors, deadlines."""

import gzip
import json
import struct
import zlib
from collections.abc import Iterator
from math import prod
from typing import Any

import pytest
import requests

from gateway.examples import PICTURE, PICTURE_BASE64
from gateway.hooks import Business, Prediction, PredictionRequest, Reply
from gateway.oip.datatypes import DATATYPES
from tests.gateway.engine import SIMPLE, Engine
from tests.gateway.given import GivenTorchServe
from tests.gateway.served import gateway_for

CARTPOLE, DIGITS, FRAGILE = (f"/v2/models/{name}/infer" for name in ("cartpole", "digits", "fragile"))
STATE = [0.1, 0.2, 0.01, -0.2]
LIMIT = 4096


def observation(**changes: Any) -> dict[str, Any]:
    return {"name": "observation", "datatype": "FP32", "shape": [1, 4], "data": STATE} | changes


def image(content: bytes) -> tuple[dict[str, Any], bytes]:
    raw = struct.pack("<I", len(content)) + content
    head = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(raw)}}
    return head, raw


def ask(
    gateway: str, path: str, content: Any, tail: bytes = b"", accept_encoding: str = "identity", **headers: str
) -> requests.Response:
    headers |= {"Accept-Encoding": accept_encoding}
    head = content if isinstance(content, bytes) else json.dumps(content).encode()
    if tail:
        headers = {"Inference-Header-Content-Length": str(len(head))} | headers
    return requests.post(gateway + path, data=head + tail, headers=headers, timeout=30)


def test_infer_json_is_answered_in_json(gateway: str) -> None:
    answer = ask(gateway, CARTPOLE, {"id": "x", "inputs": [observation(data=[STATE])]})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert "inference-header-content-length" not in answer.headers
    action = {"name": "action", "datatype": "INT64", "shape": [1], "data": [1]}
    assert answer.json() == {"model_name": "cartpole", "model_version": "1.0", "id": "x", "outputs": [action]}
    assert answer.headers["x-model-version"] == "1.0"


def test_infer_optional_members_may_be_null(gateway: str) -> None:
    content = {"id": None, "parameters": None, "outputs": None, "inputs": [observation(data=[STATE], parameters=None)]}
    answer = ask(gateway, CARTPOLE, content)
    assert answer.status_code == 200, answer.text
    assert [each["name"] for each in answer.json()["outputs"]] == ["action"]
    assert "id" not in answer.json()


@pytest.mark.parametrize("sent", ["", "42", "ä/é"])
def test_infer_id_is_repeated_as_it_was_sent(gateway: str, sent: str) -> None:
    assert ask(gateway, CARTPOLE, wide() | {"id": sent}).json()["id"] == sent


@pytest.mark.parametrize("path", ["/v2/models/digits", "/v2/models/cartpole/versions/1.0", "/v2/models/simple"])
def test_model_metadata_has_every_member_with_its_type(engine: Engine, gateway: str, path: str) -> None:
    with engine.serving("simple", SIMPLE):
        found = requests.get(gateway + path, timeout=30).json()
        ready = requests.get(f"{gateway}{path}/ready", timeout=30)
    assert set(found) == {"name", "versions", "platform", "inputs", "outputs"}
    assert (found["name"], type(found["platform"])) == (path.split("/")[3], str)
    assert all(isinstance(each, str) for each in found["versions"])
    for tensor in found["inputs"] + found["outputs"]:
        assert set(tensor) == {"name", "datatype", "shape"}
        assert (type(tensor["name"]), tensor["datatype"] in DATATYPES) == (str, True)
        assert all(type(size) is int and size >= -1 for size in tensor["shape"])
    assert (ready.status_code, ready.json()) == (200, {"name": found["name"], "ready": True})


def test_infer_response_has_every_member_with_its_type(engine: Engine, gateway: str) -> None:
    with engine.serving("simple", SIMPLE):
        answers = [ask(gateway, path, content).json() for path, content in examples(gateway)]
    for answer in answers:
        assert (
            {"model_name", "outputs"} <= set(answer) <= {"model_name", "model_version", "id", "parameters", "outputs"}
        )
        for tensor in answer["outputs"]:
            assert set(tensor) == {"name", "datatype", "shape", "data"}
            assert len(tensor["data"]) == prod(tensor["shape"])
            assert {type(each) for each in tensor["data"]} <= {bool, int, float, str}


def test_infer_raw_tensors_follow_the_json_both_ways(gateway: str) -> None:
    head, raw = image(PICTURE)
    outputs = [{"name": "label", "parameters": {"binary_data": False}}, {"name": "probabilities"}]
    content = {"inputs": [head], "outputs": outputs, "parameters": {"binary_data_output": True}}
    answer = ask(gateway, DIGITS, content, raw)
    length = int(answer.headers["inference-header-content-length"])
    label, probabilities = json.loads(answer.content[:length])["outputs"]
    assert label["data"] == ["7"]
    assert probabilities["parameters"] == {"binary_data_size": 8}
    assert struct.unpack("<2f", answer.content[length:]) == (0.25, 0.75)
    assert answer.headers["content-type"] == "application/octet-stream"


def test_infer_base64_picture_in_json(gateway: str) -> None:
    for data in ([PICTURE_BASE64], [f"data:image/png;base64,{PICTURE_BASE64}"]):
        content = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": data}]}
        assert ask(gateway, DIGITS, content).json()["outputs"][1]["data"] == ["7"]


def wide(**changes: Any) -> dict[str, Any]:
    return {"inputs": [observation(**changes)]}


BAD: dict[str, tuple[str, Any, bytes, int, str]] = {
    "not json": (CARTPOLE, b"{", b"", 400, "not valid JSON"),
    "empty": (CARTPOLE, b"", b"", 400, "the body is empty"),
    "a list": (CARTPOLE, b"[]", b"", 400, "must be a JSON object"),
    "no inputs": (CARTPOLE, {}, b"", 400, "`inputs` must be a list"),
    "input of text": (CARTPOLE, {"inputs": ["x"]}, b"", 400, "`inputs` must be a list"),
    "no name": (CARTPOLE, wide(name=None), b"", 400, "name of an input must be text"),
    "unknown datatype": (CARTPOLE, wide(datatype="FP8"), b"", 400, "'FP8' is no datatype; the datatypes are BOOL"),
    "beyond the datatype": (CARTPOLE, wide(datatype="INT8", data=[1, 2, 3, 128]), b"", 400, "that is not INT8"),
    "beyond a float": (CARTPOLE, wide(data=[1, 2, 3, 1e39]), b"", 400, "that is not FP32"),
    "shape of text": (CARTPOLE, wide(shape="x"), b"", 400, "shape must be a list of sizes"),
    "negative shape": (CARTPOLE, wide(shape=[-1, 4]), b"", 400, "shape must be a list of sizes"),
    "huge shape": (CARTPOLE, wide(shape=[2**40, 4]), b"", 400, "shape must be a list of sizes"),
    "large shape": (CARTPOLE, wide(shape=[2**30, 4]), b"", 400, "4 were sent"),
    "no data": (CARTPOLE, wide(data=None), b"", 400, "has no data"),
    "too few": (CARTPOLE, wide(data=[1, 2, 3]), b"", 400, "has 4 elements, 3 were sent"),
    "ragged": (CARTPOLE, wide(data=[[1, 2], [3]]), b"", 400, "nested otherwise"),
    "text": (CARTPOLE, wide(data=["1", 2, 3, 4]), b"", 400, "not FP32"),
    "boolean": (CARTPOLE, wide(data=[True, 2, 3, 4]), b"", 400, "not FP32"),
    "id of a number": (CARTPOLE, wide() | {"id": 7}, b"", 400, "id must be text"),
    "parameters of a list": (CARTPOLE, wide() | {"parameters": [7]}, b"", 400, "must be an object"),
    "parameters of an empty list": (CARTPOLE, wide() | {"parameters": []}, b"", 400, "must be an object"),
    "parameters of a zero": (CARTPOLE, wide(parameters=0), b"", 400, "must be an object"),
    "outputs of an empty text": (CARTPOLE, wide() | {"outputs": ""}, b"", 400, "`outputs` must be a list"),
    "outputs of text": (CARTPOLE, wide() | {"outputs": "x"}, b"", 400, "`outputs` must be a list"),
    "timeout of a truth": (CARTPOLE, wide() | {"parameters": {"timeout": False}}, b"", 400, "microseconds"),
    "odd timeout": (CARTPOLE, wide() | {"parameters": {"timeout": "soon"}}, b"", 400, "microseconds"),
    "odd classes": (
        CARTPOLE,
        wide() | {"outputs": [{"name": "action", "parameters": {"classification": "x"}}]},
        b"",
        400,
        "number of classes",
    ),
    "shared memory": (
        CARTPOLE,
        wide(parameters={"shared_memory_region": "x", "shared_memory_byte_size": 16}),
        b"",
        403,
        "shared memory is off",
    ),
    "CUDA shared memory": ("/v2/cudasharedmemory/region/x/register", {}, b"", 501, "CUDA shared memory is not offered"),
    "binary too short": (DIGITS, {"inputs": [image(PICTURE)[0]]}, b"1234", 400, "ends before the last input's"),
    "binary too long": (DIGITS, {"inputs": [image(PICTURE)[0]]}, image(PICTURE)[1] + b"1", 400, "1 bytes follow"),
    "cut element": (
        DIGITS,
        {"inputs": [image(b"")[0] | {"parameters": {"binary_data_size": 6}}]},
        b"\xff\0\0\0ab",
        400,
        "ends inside a BYTES element",
    ),
    "raw of the wrong size": (
        CARTPOLE,
        {
            "inputs": [
                {"name": "observation", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 8}}
            ]
        },
        b"12345678",
        400,
        "needs 16 bytes for FP32 of shape [1, 4], 8 were sent",
    ),
    "broken base64": (
        DIGITS,
        {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["%%"]}]},
        b"",
        400,
        "base64 is broken",
    ),
    "unknown model": ("/v2/models/nobody/infer", wide(), b"", 404, "Request for unknown model: no model nobody"),
    "unknown route": ("/v2/nowhere", wide(), b"", 404, "/v2/nowhere is not offered here"),
    "too large": (CARTPOLE, b" " * (LIMIT + 1), b"", 413, "larger than the 4096 bytes"),
    "handler broke": (
        FRAGILE,
        {"inputs": [image(b"raise".ljust(30))[0]]},
        image(b"raise".ljust(30))[1],
        500,
        "failed on this",
    ),
    "load of nothing": ("/v2/repository/models/digits/load", b"{}", b"", 403, "repository_control=true"),
    "odd index": ("/v2/repository/index", b"[]", b"", 400, "must be a JSON object"),
}


@pytest.fixture(scope="module")
def small(engine: Engine) -> Iterator[str]:
    with gateway_for(engine, f"gateway.max_body_bytes={LIMIT}") as url:
        yield url


@pytest.mark.parametrize(("path", "content", "tail", "status", "words"), BAD.values(), ids=BAD.keys())
def test_bad_request_gets_protocol_error_and_next_is_answered(
    small: str, path: str, content: Any, tail: bytes, status: int, words: str
) -> None:
    answer = ask(small, path, content, tail)
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
    assert answer.json() == {"error": answer.json()["error"], "request_id": answer.headers["x-request-id"]}
    assert ask(small, CARTPOLE, wide()).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_body_is_inflated_within_the_limit(small: str, encoding: str) -> None:
    def packed(body: bytes) -> bytes:
        return gzip.compress(body) if encoding == "gzip" else zlib.compress(body)

    def post(body: bytes, encoding: str = encoding) -> requests.Response:
        return requests.post(small + CARTPOLE, data=body, headers={"Content-Encoding": encoding}, timeout=30)

    body = json.dumps(wide()).encode()
    assert post(packed(body)).json()["outputs"][0]["data"] == [1]
    bomb = post(packed(b" " * 1_000_000))
    assert (bomb.status_code, "inflates to more than the 4096 bytes" in bomb.json()["error"]) == (413, True)
    for broken, words in ((packed(body)[:-6], "cut off"), (body, f"not {encoding}"), (packed(body) + b"x", "cut off")):
        refused = post(broken)
        assert (refused.status_code, words in refused.json()["error"]) == (400, True), refused.text
    other = post(packed(body), "br")
    assert (other.status_code, "'br' is not read here; send gzip, deflate" in other.json()["error"]) == (415, True)


def test_response_is_compressed_only_when_requested_and_worth_it(gateway: str) -> None:
    head, raw = image(PICTURE)
    many = {"inputs": [head | {"shape": [64], "parameters": {"binary_data_size": 64 * len(raw)}}]}
    for accepted, encoding in (("gzip", "gzip"), ("deflate, gzip;q=0", "deflate"), ("identity", None), ("br", None)):
        answer = ask(gateway, DIGITS, many, raw * 64, accept_encoding=accepted)
        assert answer.headers.get("content-encoding") == encoding
        assert answer.json()["outputs"][1]["data"] == ["7"] * 64
    assert "content-encoding" not in ask(gateway, CARTPOLE, wide(), accept_encoding="gzip").headers


def test_server_metadata_with_and_without_slash(gateway: str) -> None:
    found = [requests.get(f"{gateway}{path}", timeout=30).json() for path in ("/v2", "/v2/")]
    assert found[0] == found[1]
    assert found[0]["name"] == "marina"


def test_wrong_method_is_not_allowed(gateway: str) -> None:
    for method, path, allowed in (("GET", CARTPOLE, "POST"), ("PUT", "/v2/models/cartpole", "GET")):
        answer = requests.request(method, gateway + path, timeout=30)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert answer.json() == {"error": "Method Not Allowed", "request_id": answer.headers["x-request-id"]}


@pytest.mark.parametrize("length", ["-1", "x", "99999", "1e3"])
def test_infer_wrong_json_length_is_refused(gateway: str, length: str) -> None:
    answer = ask(gateway, CARTPOLE, wide(), b"", **{"Inference-Header-Content-Length": length})
    assert answer.status_code == 400


def test_infer_honours_deadline_header_and_timeout_parameter(gateway: str) -> None:
    head, raw = image(b"sleep".ljust(30))
    late = ask(gateway, FRAGILE, {"inputs": [head]}, raw, **{"X-Deadline-Ms": "200"})
    assert (late.status_code, "no answer within" in late.json()["error"]) == (504, True)
    late = ask(gateway, FRAGILE, {"inputs": [head], "parameters": {"timeout": 200_000}}, raw)
    assert late.status_code == 504


def test_infer_without_engine_is_unavailable(no_engine: Engine) -> None:
    with gateway_for(no_engine) as gateway:
        assert requests.get(f"{gateway}/v2/health/live", timeout=30).status_code == 200
        assert requests.get(f"{gateway}/v2/health/ready", timeout=30).status_code == 503
        assert ask(gateway, CARTPOLE, wide()).status_code == 503
        assert requests.get(f"{gateway}/v2/models/digits", timeout=30).json()["error"] == "the engine does not answer"


def documented(gateway: str) -> dict[str, Any]:
    """The paths of the OpenAPI document."""
    paths: dict[str, Any] = requests.get(f"{gateway}/openapi.json", timeout=30).json()["paths"]
    return paths


def examples(gateway: str) -> list[tuple[str, Any]]:
    """The path and content of each documented inference."""
    content = documented(gateway)["/v2/models/{model}/infer"]["post"]["requestBody"]["content"]["application/json"]
    models = {"picture": "digits", "state": "cartpole", "tensors": "simple"}
    return [(f"/v2/models/{models[name]}/infer", each["value"]) for name, each in content["examples"].items()]


def test_openapi_documents_errors_in_the_protocols_form(gateway: str) -> None:
    for path, operations in documented(gateway).items():
        for operation in operations.values() if path.startswith("/v2") else ():
            for status, answer in operation["responses"].items():
                schema = answer["content"]["application/json"]["schema"]
                assert (schema == {"$ref": "#/components/schemas/InferenceError"}) == (status != "200"), (path, status)


def test_openapi_examples_work(engine: Engine, gateway: str) -> None:
    with engine.serving("simple", SIMPLE):
        for path, content in examples(gateway):
            answer = ask(gateway, path, content)
            assert answer.status_code == 200, answer.text
    for path, operations in documented(gateway).items():
        if path.startswith("/v2") and "get" in operations and "systemsharedmemory" not in path:
            shown = operations["get"]["responses"]["200"]["content"]["application/json"]["example"]
            filled = path.format(model="cartpole", version="1.0")
            found = requests.get(gateway + filled, timeout=30).json()
            assert set(shown) <= set(found), path


def test_responses_hide_the_engine(engine: Engine, gateway: str) -> None:
    for path in ("/v2", "/v2/models/cartpole", "/v2/models/cartpole/config", "/v2/models/stats"):
        text = requests.get(gateway + path, timeout=30).text
        hidden = [*engine.keys().values(), f":{engine.inference_port}", ".mar", "secret-place"]
        assert [word for word in hidden if word in text] == []


async def closed(_: PredictionRequest) -> Reply:
    return Reply({"closed": True}, 418)


async def only_sure(prediction: Prediction) -> Prediction:
    """Drops classes below a half."""
    kept = [{**each, "probabilities": {"7": each["probabilities"]["7"]}} for each in prediction.predictions]
    return prediction.with_predictions(kept)


@pytest.mark.parametrize(("code", "status"), [("internal", 500), ("invalid_fields", 422)])
def test_instance_that_the_worker_refuses_alone_fails_the_tensors(engine: Engine, code: str, status: int) -> None:
    async def refused(prediction: Prediction) -> Prediction:
        return prediction.with_predictions([{"error": code, "detail": "not this one"}])

    with gateway_for(engine, business=Business(after={"cartpole": refused})) as gateway:
        answer = ask(gateway, CARTPOLE, wide())
    assert (answer.status_code, answer.json()["error"]) == (status, "instance 0: not this one")


def test_business_logic_runs_before_and_after_infer(engine: Engine) -> None:
    head, raw = image(PICTURE)
    with gateway_for(engine, business=Business(before={"cartpole": closed}, after={"digits": only_sure})) as gateway:
        refused = ask(gateway, CARTPOLE, wide())
        answered = ask(gateway, DIGITS, {"inputs": [head]}, raw).json()["outputs"]
    assert (refused.status_code, "business logic" in refused.json()["error"]) == (418, True)
    outputs = {each["name"]: each["data"] for each in answered}
    assert outputs == {"probabilities": [0.0, 0.75], "label": ["7"], "confidence": [0.75]}


async def half_an_action(prediction: Prediction) -> Prediction:
    return prediction.with_predictions([{"action": 0.5} for _ in prediction.predictions])


@pytest.mark.parametrize("binary", [False, True])
def test_answer_that_does_not_fit_its_datatype_counts_as_failure(given: GivenTorchServe, binary: bool) -> None:
    wanted = [{"name": "action", "parameters": {"binary_data": binary}}]
    with gateway_for(given, business=Business(after={"cartpole": half_an_action})) as gateway:
        answer = ask(gateway, CARTPOLE, wide() | {"outputs": wanted})
        stats = requests.get(f"{gateway}/v2/models/cartpole/stats", timeout=30).json()["model_stats"][0]
    assert answer.status_code == 500
    assert "output 'action' of the model's answer does not fit INT64" in answer.json()["error"]
    counts = {name: stage["count"] for name, stage in stats["inference_stats"].items()}
    assert (counts["success"], counts["fail"]) == (0, 1)
