"""The registry of dialects: which one a path belongs to, and who writes its errors."""

import json
from functools import partial

import pytest
import requests

import settings
from errors import RequestError, UnknownModel
from gateway.dialects.dialect import Dialect, DialectRoute, find_model_path
from gateway.dialects.registry import Dialects, dialects_for
from gateway.examples import PICTURE
from gateway.hooks import EngineResponse
from gateway.http.payload import any_form
from gateway.http.responses import HttpResponse, whole_response
from settings.schema import GatewaySettings
from tests.gateway.given import GivenTorchServe
from tests.gateway.served import gateway_for

DIALECTS = dialects_for(settings.load([]).gateway)


@pytest.mark.parametrize(
    ("path", "template", "model", "version"),
    [
        ("/models/digits/predict", "/models/{model}/predict", "digits", None),
        ("/models/digits/versions/1.0/predict", "/models/{model}/versions/{version}/predict", "digits", "1.0"),
        ("/v2/models/digits/infer", "/v2/models/{model}/infer", "digits", None),
        ("/v2/models/digits/versions/2/infer", "/v2/models/{model}/versions/{version}/infer", "digits", "2"),
        ("/predict", "/predict", None, None),
    ],
)
def test_find_path_of_a_route_is_its_template_model_and_version(
    path: str, template: str, model: str, version: str | None
) -> None:
    found = DIALECTS.find(path)
    assert found is not None
    assert (found.template, found.model, found.version) == (template, model, version)


@pytest.mark.parametrize(
    "path",
    ["/", "/models", "/models//predict", "/models/a/b/predict", "/models/a%2Fb/predict", "/models/digits/predict?x=1"],
)
def test_find_other_path_is_none(path: str) -> None:
    assert DIALECTS.find(path) is None


@pytest.mark.parametrize("path", ["/v2", "/v2/models/nobody/infer"])
def test_write_error_of_the_open_inference_protocol_has_the_text_as_error(path: str) -> None:
    response = DIALECTS.write_error(path, UnknownModel("no such model"), "r-1")
    assert (response.status, json.loads(response.body)) == (404, {"error": "no such model", "request_id": "r-1"})


@pytest.mark.parametrize("path", ["/models/nobody/predict", "/predict", "/v2x", "/made/up"])
def test_write_error_of_other_paths_has_code_and_detail(path: str) -> None:
    response = DIALECTS.write_error(path, UnknownModel("no such model"), "r-1")
    assert json.loads(response.body) == {"error": "unknown_model", "detail": "no such model", "request_id": "r-1"}


def test_not_found_text_is_the_dialects_own() -> None:
    assert DIALECTS.not_found("/v2/made/up") == "/v2/made/up is not offered here; /v2 lists the extensions that are"
    assert DIALECTS.not_found("/made/up") is None


def test_every_route_has_a_path_that_finds_it() -> None:
    for template, route in DIALECTS.routes.items():
        found = DIALECTS.find(template.replace("{model}", "m").replace("{version}", "1"))
        assert found is not None
        assert found.template == route.template


@pytest.mark.parametrize("path", ["/predict", "/classify", "/invocations", "/ai/predict"])
def test_the_dialect_that_finds_a_path_also_reads_it(path: str) -> None:
    dialects = dialects_for(settings.load([f"gateway.dialects.vertex_predict={path}"]).gateway)
    [route] = dialects.dialects[0].routes
    assert dialects.find(path) == dialects.dialects[0].find(path)
    assert dialects.routes[path] is route
    assert dialects.documentation[path] is dialects.dialects[0].documentation[path]


def shouted(response: EngineResponse) -> HttpResponse:
    return whole_response(response.content()["predictions"][0]["label"].encode() + b"!", content_type="text/plain")


def shouted_error(error: RequestError, request_id: str) -> HttpResponse:
    return whole_response(f"{error.code.upper()}! {request_id}".encode(), error.status, "text/plain")


SHOUT = Dialect(
    find=partial(find_model_path, root="/shout", verb="now"),
    routes=(DialectRoute("/shout/{model}/now", any_form, shouted),),
    write_error=shouted_error,
    prefixes=("/shout",),
)


def test_dialect_that_is_registered_answers_its_routes_and_errors(
    given: GivenTorchServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def more(gateway: GatewaySettings) -> Dialects:
        return Dialects((SHOUT, *dialects_for(gateway).dialects))

    monkeypatch.setattr("gateway.application.dialects_for", more)
    with gateway_for(given) as url:
        headers = {"X-Request-Id": "r-7", "Content-Type": "image/png"}
        found = requests.post(f"{url}/shout/digits/now", PICTURE, headers=headers, timeout=30)
        assert (found.status_code, found.text, found.headers["x-request-id"]) == (200, "7!", "r-7")
        found = requests.post(f"{url}/shout/nobody/now", PICTURE, headers=headers, timeout=30)
        assert (found.status_code, found.text) == (404, "UNKNOWN_MODEL! r-7")
        found = requests.get(f"{url}/shout/digits/now", headers=headers, timeout=30)
        assert (found.status_code, found.text) == (405, "METHOD_NOT_ALLOWED! r-7")
        assert requests.post(f"{url}/models/nobody/predict", PICTURE, timeout=30).json()["error"] == "unknown_model"
