"""Everything that is not a prediction: models, health, metrics, documentation; test_console has the front page."""

from typing import Any

import pytest
import requests

from gateway.examples import PICTURE
from tests.gateway.engine import FIELDS, Engine
from tests.gateway.served import gateway_for

NO_BODY = ("/unregister", "cudasharedmemory/region/{name}/register")


def get(url: str, **options: Any) -> requests.Response:
    return requests.get(url, timeout=30, **options)


def test_models_route_shows_versions_and_settings(gateway: str) -> None:
    models = {model["name"]: model for model in get(f"{gateway}/models").json()["models"]}
    digits = models["digits"]
    assert digits["default_version"] == "1.0"
    assert [version["version"] for version in digits["versions"]] == ["1.0", "2.0"]
    version = digits["versions"][0]
    assert version["workers"] == {"ready": 1, "total": 1, "min": 1, "max": 1}
    assert version["batch"] == {"batch_size": 4, "max_batch_delay": 5}
    assert version["queue"]["pending"] == 0
    assert version["labels"] == ["1", "7"]
    assert models["idle"]["versions"][0]["workers"]["ready"] == 0


def test_models_route_policy_schema_names_fields_and_limits(gateway: str) -> None:
    version = get(f"{gateway}/models/cartpole").json()["versions"][0]
    schema = version["input"]["json_schema"]
    assert schema["required"] == FIELDS
    assert schema["properties"]["cart_position"] == {"type": "number", "minimum": -4.8, "maximum": 4.8}
    assert schema["properties"]["cart_velocity"] == {"type": "number"}


def test_models_route_unknown_model_is_404(gateway: str) -> None:
    answer = get(f"{gateway}/models/nobody")
    assert (answer.status_code, answer.json()["error"]) == (404, "unknown_model")


def test_liveness_and_readiness(gateway: str) -> None:
    assert get(f"{gateway}/healthz").json() == {"status": "alive"}
    assert get(f"{gateway}/readyz").json() == {"status": "ready"}


def test_readiness_names_each_model_that_cannot_answer(engine: Engine) -> None:
    overrides = ("gateway.default_vision_model=idle", "gateway.default_policy=nobody")
    with gateway_for(engine, *overrides) as gateway:
        answer = get(f"{gateway}/readyz")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "not ready: model idle has no worker; model nobody is not registered"


def test_readiness_names_an_engine_that_is_down(no_engine: Engine) -> None:
    with gateway_for(no_engine) as gateway:
        assert get(f"{gateway}/readyz").json()["detail"] == "not ready: the engine does not answer"


def test_home_is_healthy_json_for_programs(gateway: str) -> None:
    assert get(f"{gateway}/").json()["status"] == "healthy"


def test_metrics_have_histograms_by_model_route_and_status(gateway: str) -> None:
    requests.post(f"{gateway}/models/digits/predict", data=PICTURE, timeout=30)
    get(f"{gateway}/models/nobody-typed-this")
    text = get(f"{gateway}/metrics").text
    labels = 'model="digits",route="/models/{model}/predict",status="200"'
    assert f"marina_gateway_request_seconds_count{{{labels}}}" in text
    assert 'marina_gateway_upstream_seconds_bucket{le="0.001",model="digits",status="200"}' in text
    assert 'route="/models/{model}",status="404"' in text
    assert "nobody-typed-this" not in text


def test_openapi_every_route_has_an_example(gateway: str) -> None:
    paths = get(f"{gateway}/openapi.json").json()["paths"]
    assert {"/", "/healthz", "/readyz", "/metrics", "/models", "/models/{model}", "/predict", "/predict/"} <= set(paths)
    for path, operations in paths.items():
        for method, operation in operations.items():
            good = next(iter(operation["responses"]["200"]["content"].values()))
            # A prediction has one example for each output kind.
            assert "example" in good or all(each["value"] for each in good["examples"].values()), path
            if method == "post" and not path.endswith(NO_BODY):
                bodies = operation["requestBody"]["content"].values()
                assert any(_example_or_file(body) for body in bodies), path


def _example_or_file(body: dict[str, Any]) -> bool:
    fields = body["schema"].get("properties", {}).values()
    return bool(body.get("example") or body.get("examples")) or any(each.get("format") == "binary" for each in fields)


def test_openapi_prediction_examples_work(gateway: str) -> None:
    paths = get(f"{gateway}/openapi.json").json()["paths"]
    tried = 0
    for path, operations in paths.items():
        content = operations.get("post", {}).get("requestBody", {}).get("content", {})
        body = content.get("application/json", {}).get("example")
        if body is not None:
            shown = operations["post"]["responses"]["200"]["content"]["application/json"]["example"]
            named = {each["name"]: each.get("example") for each in operations["post"].get("parameters", ())}
            answer = requests.post(gateway + path.format_map(named), json=body, timeout=30)
            assert answer.status_code == 200, path
            assert set(answer.json()) - {"echo"} == set(shown), path
            tried += 1
    general = paths["/models/{model}/predict"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    for name, example in general.items():
        model = "digits" if name.startswith("picture") else "cartpole"
        answer = requests.post(f"{gateway}/models/{model}/predict", json=example["value"], timeout=30)
        assert answer.status_code == 200, name
        tried += 1
    assert tried == 17


def test_swagger_is_there(gateway: str) -> None:
    assert "swagger" in get(f"{gateway}/docs").text


@pytest.mark.parametrize(
    "path", ["/", "/models", "/models/cartpole", "/console/state", "/openapi.json", "/metrics", "/readyz"]
)
def test_pages_hide_the_engine(engine: Engine, gateway: str, path: str) -> None:
    text = get(gateway + path).text
    hidden = [
        *engine.keys().values(),
        f":{engine.inference_port}",
        f":{engine.management_port}",
        ".mar",
        "secret-place",
    ]
    assert [word for word in hidden if word in text] == []
