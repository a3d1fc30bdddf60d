"""The registry of dialects: which one a path belongs to, and who writes its errors."""

import json

import pytest

import settings
from errors import UnknownModel
from gateway.dialects import dialects_for

DIALECTS = dialects_for(settings.load([]).gateway)


@pytest.mark.parametrize(
    ("path", "template", "model", "version"),
    [
        ("/models/digits/predict", "/models/{model}/predict", "digits", None),
        ("/models/digits/versions/1.0/predict", "/models/{model}/versions/{version}/predict", "digits", "1.0"),
        ("/v2/models/digits/infer", "/v2/models/{model}/infer", "digits", None),
        ("/v2/models/digits/versions/2/infer", "/v2/models/{model}/versions/{version}/infer", "digits", "2"),
        ("/predict", "/predict", "cartpole", None),
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
