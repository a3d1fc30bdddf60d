"""Requests as clients of TorchServe, KServe, SageMaker and Vertex AI send them, and what those clients read."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import requests
from botocore.exceptions import ClientError

from gateway.dialects.kserve_v1 import write_items
from gateway.examples import PICTURE, PICTURE_BASE64
from gateway.hooks import Business, EngineResponse, Prediction
from tests.gateway.given import CARDS, GivenTorchServe
from tests.gateway.served import gateway_for

FORM = {"data": ("a.png", PICTURE, "image/png")}
PARROT = {"kind": "adopted", "content_types": ["text/plain"], "provenance": {"model_name": "Res-Net.18"}}
VERTEX = "/v1/endpoints/1/deployedModels/2:predict"
OVERRIDES = (f"gateway.dialects.vertex_predict={VERTEX}", "gateway.dialects.vertex_health=/v1/endpoints/1/health")


@pytest.fixture(scope="module")
def engine() -> Iterator[GivenTorchServe]:
    made = GivenTorchServe(CARDS | {"parrot": PARROT, "stranger": {}})
    with made.running():
        yield made


async def never(_: Prediction) -> Prediction:
    raise AssertionError("an explanation is no prediction")


@pytest.fixture(scope="module")
def url(engine: GivenTorchServe) -> Iterator[str]:
    with gateway_for(engine, *OVERRIDES, "gateway.dialects.model=digits") as made:
        yield made


def call(url: str, **sent: Any) -> requests.Response:
    return requests.request(sent.pop("method", "POST"), url, timeout=60, **sent)


def arrived(engine: GivenTorchServe) -> Any:
    assert engine.last is not None
    return engine.last


@pytest.mark.parametrize(
    ("path", "forwarded"),
    [
        ("/predictions/digits", "/predictions/digits"),
        ("/predictions/digits/1.0", "/predictions/digits/1.0"),
        ("/explanations/digits", "/explanations/digits"),
        ("/explanations/digits/1.0", "/explanations/digits/1.0"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_torchserve_request_reaches_the_same_route_of_the_engine(
    engine: GivenTorchServe, url: str, method: str, path: str, forwarded: str
) -> None:
    found = call(url + path, method=method, data=PICTURE)
    assert (found.status_code, set(found.json())) == (200, {"model", "version", path.split("/")[1]})
    assert (arrived(engine).path, arrived(engine).body) == (forwarded, PICTURE)


@pytest.mark.parametrize("path", ["/predictions/parrot", "/predictions/stranger", "/invocations"])
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data; boundary=B", b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--B--\r\n'),
        ("application/x-www-form-urlencoded", b"a=1&b=2"),
        ("text/plain; charset=latin-1", b"caf\xe9"),
        ("application/json", b"not JSON"),
        ("audio/wav", b"RIFF\0"),
    ],
)
def test_body_for_another_makers_handler_goes_on_as_it_is(
    engine: GivenTorchServe, url: str, path: str, content_type: str, body: bytes
) -> None:
    headers = {"Content-Type": content_type, "X-Amzn-SageMaker-Target-Model": "models/parrot.tar.gz"}
    found = call(url + path, data=body, headers=headers)
    assert found.status_code == 200, found.text
    assert (arrived(engine).body, arrived(engine).headers["content-type"]) == (body, content_type)
    if "stranger" not in path:
        assert (found.content, found.headers["content-type"]) == (body, content_type)


def test_status_of_another_makers_handler_is_passed_on(url: str) -> None:
    for path in ("/predictions/parrot", "/v1/models/parrot:predict", "/models/parrot/invoke"):
        assert call(url + path, data=b"teapot").status_code == 418


ERRORS: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "model": ("/predictions/nobody", {"data": PICTURE}, 404, "ModelNotFoundException"),
    "route": ("/predictions/digits/1.0/more", {"data": PICTURE}, 404, "ResourceNotFoundException"),
    "method": ("/predictions/digits", {"method": "DELETE"}, 405, "MethodNotAllowedException"),
    "body": ("/predictions/cartpole", {"data": b"{"}, 400, "BadRequestException"),
    "fields": ("/predictions/digits", {"files": FORM, "data": {"user": "me"}}, 422, "BadRequestException"),
    "engine": ("/explanations/digits", {"data": b"refuse"}, 503, "ServiceUnavailableException"),
    "container": ("/models/nobody/invoke", {"data": PICTURE}, 404, "ModelNotFoundException"),
}


@pytest.mark.parametrize(("path", "sent", "status", "name"), ERRORS.values(), ids=ERRORS.keys())
def test_torchserve_error_has_code_type_and_message(
    url: str, path: str, sent: dict[str, Any], status: int, name: str
) -> None:
    found = call(url + path, **sent)
    assert found.status_code == status
    assert list(found.json()) == ["code", "type", "message"]
    assert (found.json()["code"], found.json()["type"]) == (status, name)


def test_explanation_gets_the_target_of_a_form_and_of_instances(engine: GivenTorchServe, url: str) -> None:
    call(f"{url}/explanations/digits", files=FORM, data={"target": "7"})
    assert json.loads(arrived(engine).body) == {"image": PICTURE_BASE64, "target": "7"}
    instance = {"data": PICTURE_BASE64, "target": 0}
    found = call(f"{url}/v1/models/digits:explain", json={"instances": [instance, instance]})
    assert json.loads(arrived(engine).body) == {"instances": [{"image": PICTURE_BASE64}] * 2, "target": 0}
    assert list(found.json()) == ["explanations"]
    assert len(found.json()["explanations"]) == 2
    different = {"instances": [instance, instance | {"target": 1}]}
    assert call(f"{url}/v1/models/digits:explain", json=different).status_code == 422
    call(f"{url}/v1/models/digits:predict", json={"instances": [instance]})
    assert json.loads(arrived(engine).body) == {"instances": [{"image": PICTURE_BASE64}]}


@pytest.mark.parametrize("state", ["[0,0,0.1,0.5]", "{}", '{"observation": [0,0,0.1,0.5]} '])
def test_explanation_of_a_state_gets_the_target_of_a_form(engine: GivenTorchServe, url: str, state: str) -> None:
    call(f"{url}/explanations/cartpole", files={"data": ("a.json", state, "application/json")}, data={"target": "left"})
    content = json.loads(state)
    wrapped = content if content and isinstance(content, dict) else {"observation": content}
    assert json.loads(arrived(engine).body) == {**wrapped, "target": "left"}


def test_explanation_is_not_shared_with_a_prediction_nor_given_to_business_logic(engine: GivenTorchServe) -> None:
    with gateway_for(engine, "gateway.cache.max_entries=9", business=Business(after={"cartpole": never})) as url:
        state = {"data": b"[0,0,0.1,0.5]", "headers": {"Content-Type": "application/json"}}
        for _ in range(2):
            assert set(call(f"{url}/explanations/cartpole", **state).json()) == {"model", "version", "explanations"}
        assert call(f"{url}/predictions/cartpole", **state).status_code == 500


def test_health_routes_answer_as_each_server_does(url: str, engine: GivenTorchServe) -> None:
    assert call(f"{url}/ping", method="GET").json() == {"status": "Healthy"}
    assert call(f"{url}/v1/endpoints/1/health", method="GET").status_code == 200
    assert sorted(call(f"{url}/v1/models", method="GET").json()["models"]) == sorted(engine.cards)
    assert call(f"{url}/v1/models/digits", method="GET").json() == {"name": "digits", "ready": True}
    found = call(f"{url}/v1/models/nobody", method="GET")
    assert (found.status_code, found.json()["error"]) == (404, "no model nobody is registered")
    with gateway_for(engine, "gateway.default_policy=nobody", *OVERRIDES) as unready:
        found = call(f"{unready}/ping", method="GET")
        assert (found.status_code, found.json()) == (500, {"status": "Unhealthy"})
        assert call(f"{unready}/v1/endpoints/1/health", method="GET").status_code == 503


def test_kserve_v1_answers_predictions_alone_and_errors_as_text(url: str) -> None:
    found = call(f"{url}/v1/models/cartpole:predict", json={"instances": [[0, 0, 0.1, 0.5]] * 3})
    assert found.json() == {"predictions": [{"action": 1}] * 3}
    for body in (b"[1]", b'{"instances": 7}', b"{", b'{"instances": [{"nothing": 1}]}'):
        headers = {"Content-Type": "application/json"}
        found = call(f"{url}/v1/models/digits:predict", data=body, headers=headers)
        assert (found.status_code in (400, 422), set(found.json())) == (True, {"error", "request_id"}), body
    assert call(f"{url}/v1/models/digits:detect", json={"instances": []}).status_code in (404, 405)


def test_answer_of_another_form_is_passed_on() -> None:
    write = write_items("predictions")
    assert write(EngineResponse(b"[0.5, 0.5]", "application/json", "1.0")).body == b"[0.5, 0.5]"
    assert (
        write(EngineResponse(b'{"predictions": [1], "n": 2}', "application/json", "1.0")).body == b'{"predictions":[1]}'
    )


def test_vertex_route_takes_parameters_as_options(engine: GivenTorchServe, url: str) -> None:
    found = call(url + VERTEX, json={"instances": [{"image_bytes": {"b64": PICTURE_BASE64}}], "parameters": {}})
    assert set(found.json()) == {"predictions"}
    assert call(url + VERTEX, json={"instances": [PICTURE_BASE64], "parameters": None}).status_code == 200
    wrongs: tuple[object, ...] = ({"k": 1}, [], 0, "", {"instances": [PICTURE_BASE64]})
    for wrong in wrongs:
        found = call(url + VERTEX, json={"instances": [PICTURE_BASE64], "parameters": wrong})
        assert found.status_code == 422, wrong
    with gateway_for(engine, *OVERRIDES, "gateway.dialects.model=cartpole") as policies:
        twice = {"instances": [[0, 0, 0, 0]], "parameters": {"instances": [[1, 1, 1, 1]]}}
        assert call(policies + VERTEX, json=twice).status_code == 422
        call(policies + VERTEX, json={"instances": [[0, 0, 0, 0]], "parameters": {"deterministic": False}})
    assert json.loads(arrived(engine).body) == {"instances": [[0, 0, 0, 0]], "deterministic": False}


def test_sagemaker_model_is_that_of_the_header_the_endpoint_or_the_setting(engine: GivenTorchServe, url: str) -> None:
    assert call(f"{url}/invocations", data=PICTURE).json()["model"] == "digits"
    csv = {"data": b"0,0,0.1,0.5\n0,0,.1e0,0.5\n", "headers": {"Content-Type": "text/csv"}}
    assert call(f"{url}/endpoints/cartpole/invocations", **csv).status_code == 424
    csv["data"] = b"0,0,0.1,0.5\r\n\n 0,0,1e-1,0.5"
    assert call(f"{url}/endpoints/cartpole/invocations", **csv).json()["model"] == "cartpole"
    assert json.loads(arrived(engine).body) == [[0, 0, 0.1, 0.5], [0, 0, 0.1, 0.5]]
    target = {"X-Amzn-SageMaker-Target-Model": "cartpole.tar.gz", "Content-Type": "application/json"}
    assert call(f"{url}/endpoints/mine/invocations", data=b"[0,0,0,0]", headers=target).json()["model"] == "cartpole"
    image = {"Content-Type": "application/x-image", "Accept": "text/html, application/json;q=0.5"}
    assert call(f"{url}/endpoints/mine/invocations", data=PICTURE, headers=image).json()["model"] == "digits"
    assert call(f"{url}/models/cartpole/invoke", json=[0, 0, 0, 0]).json()["model"] == "cartpole"
    with gateway_for(engine) as unset:
        found = call(f"{unset}/invocations", data=PICTURE)
    assert (found.status_code, "gateway.dialects.model" in found.json()["message"]) == (404, True)


def test_sagemaker_accept_without_json_is_refused(url: str) -> None:
    found = call(f"{url}/invocations", data=PICTURE, headers={"Accept": "application/x-npy"})
    assert (found.status_code, found.json()["code"]) == (406, 406)
    parrot = {"Accept": "application/x-npy", "X-Amzn-SageMaker-Target-Model": "parrot"}
    assert call(f"{url}/invocations", data=b"x", headers=parrot).content == b"x"


def test_sagemakers_sdk_invokes_the_gateway_as_its_endpoint(url: str) -> None:
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "eu-central-1"}
    sdk = boto3.client("sagemaker-runtime", endpoint_url=url, **keys)
    sent = {"EndpointName": "mine", "ContentType": "application/x-image", "Accept": "application/json"}
    found = sdk.invoke_endpoint(Body=PICTURE, **sent)
    assert (found["ContentType"], json.load(found["Body"])["model"]) == ("application/json", "digits")
    body = {"Body": b"0,0,0.1,0.5", "ContentType": "text/csv", "TargetModel": "cartpole.tar.gz"}
    assert json.load(sdk.invoke_endpoint(**sent | body)["Body"])["predictions"] == [{"action": 1}]
    with pytest.raises(sdk.exceptions.ModelError) as caught:
        sdk.invoke_endpoint(Body=b"{", **sent)
    assert caught.value.response["OriginalStatusCode"] == 400
    assert json.loads(caught.value.response["OriginalMessage"])["type"] == "BadRequestException"
    with pytest.raises(ClientError, match=r"ValidationError.*no model nobody is registered"):
        sdk.invoke_endpoint(Body=PICTURE, TargetModel="nobody", **sent)


@pytest.mark.parametrize("name", ["Res-Net.18", "parrot"])
def test_adopted_model_is_found_by_the_name_that_its_archive_had(engine: GivenTorchServe, url: str, name: str) -> None:
    for path in (f"/predictions/{name}", f"/v1/models/{name}:predict", f"/models/{name}/invoke"):
        assert call(url + path, data=b"teapot").status_code == 418, path
        assert arrived(engine).path == "/predictions/parrot"
    assert call(f"{url}/endpoints/{name}/invocations", data=b"hello").content == b"hello"
    assert call(f"{url}/v1/models/{name}", method="GET").json() == {"name": name, "ready": True}
    for suffix in ("", ".mar", ".tar.gz"):
        target = {"X-Amzn-SageMaker-Target-Model": f"models/{name}{suffix}"}
        assert call(f"{url}/invocations", data=b"hello", headers=target).content == b"hello"


@pytest.mark.parametrize("target", ["nobody.tar.gz", "models/nobody.mar", "nobody-1.0.mar", ".tar.gz", "models/", "é"])
def test_sagemaker_target_that_is_not_served_is_an_error_of_the_client(url: str, target: str) -> None:
    headers = {"X-Amzn-SageMaker-Target-Model": target.encode()}
    found = call(f"{url}/invocations", data=PICTURE, headers=headers)
    assert (found.status_code, found.json()["type"]) == (404, "ModelNotFoundException")
    found = call(f"{url}/endpoints/mine/invocations", data=PICTURE, headers=headers)
    assert (found.status_code, found.headers["x-amzn-errortype"]) == (400, "ValidationError")
    assert list(found.json()) == ["Message"]


def test_dialect_that_is_off_has_no_route(engine: GivenTorchServe) -> None:
    off = [f"gateway.dialects.{name}=false" for name in ("torchserve", "kserve_v1", "sagemaker")]
    with gateway_for(engine, *off) as bare:
        for path in ("/predictions/digits", "/v1/models/digits:predict", "/invocations", "/models/digits/invoke"):
            assert call(bare + path, data=PICTURE).json()["error"] == "not_found"
        for path in ("/ping", "/v1/models"):
            assert call(bare + path, method="GET").status_code == 404
        assert call(f"{bare}/models/digits/predict", data=PICTURE).status_code == 200
        paths = call(f"{bare}/openapi.json", method="GET").json()["paths"]
        assert not [path for path in paths if path.startswith(("/ping", "/predictions", "/v1", "/inv"))]


def test_other_servers_routes_need_a_key_and_say_so_in_their_shape(engine: GivenTorchServe) -> None:
    key = f"gateway.security.api_keys=[{{name: me, sha256: {'0' * 64}}}]"
    with gateway_for(engine, key, *OVERRIDES) as locked:
        assert call(f"{locked}/ping", method="GET").status_code == 200
        assert call(f"{locked}/v1/endpoints/1/health", method="GET").status_code == 200
        found = call(f"{locked}/predictions/digits", data=PICTURE)
        assert (found.status_code, found.json()["type"]) == (401, "InvalidKeyException")
        found = call(f"{locked}/endpoints/digits/invocations", data=PICTURE)
        assert (found.status_code, found.headers["x-amzn-errortype"]) == (403, "AccessDeniedException")
        assert list(call(f"{locked}/v1/models", method="GET").json()) == ["error", "request_id"]


def test_every_route_of_other_servers_is_documented_with_its_errors(url: str) -> None:
    found = call(url, method="OPTIONS").json()
    assert found == call(f"{url}/openapi.json", method="GET").json()
    operation = found["paths"]["/predictions/{model}"]["put"]
    example = operation["responses"]["404"]["content"]["application/json"]["example"]
    assert example["type"] == "ModelNotFoundException"
    for path in ("/explanations/{model}/{version}", "/v1/models/{model}:explain", "/models/{model}/invoke", VERTEX):
        assert {"200", "404", "504"} <= found["paths"][path]["post"]["responses"].keys()
