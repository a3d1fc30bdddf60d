"""The OpenAPI document: FastAPI's for the plain routes, and the prediction routes written out here.

The prediction routes read their bodies themselves, so nothing could be derived from their signatures.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from gateway.documented import ERROR_SCHEMA, answers
from gateway.oip.documented import infer_paths
from gateway.samples import PICTURE_BASE64
from handlers import outputs
from settings.schema import Alias, GatewaySettings

_FILE = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
_IMAGE = {"image": PICTURE_BASE64}
_PARTS = {"observation": [0.1, 0.2], "achieved_goal": [0.0], "desired_goal": [1.0]}
_ERRORS = (400, 404, 413, 415, 422, 429, 500, 503, 504)

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}

_PROBABILITIES = {"1": 0.98, "7": 0.02}
_RESPONSES: dict[str, Any] = {
    "probabilities": _PROBABILITIES,
    "action": {"action": 1},
    "label": {"prediction": "1"},
    "label_confidence": {"status": "success", "prediction": {"label": "1", "confidence": 0.98}},
}


def document(app: FastAPI, gateway: GatewaySettings) -> dict[str, Any]:
    """The whole document."""
    content = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    content["paths"] |= prediction_paths(gateway) | infer_paths()
    components = content.setdefault("components", {})
    components.setdefault("schemas", {})["Error"] = ERROR_SCHEMA
    if gateway.security.api_keys:
        components["securitySchemes"] = _SCHEMES
        content["security"] = [{name: []} for name in _SCHEMES]
    return content


def prediction_paths(gateway: GatewaySettings) -> dict[str, Any]:
    """The prediction routes and the short routes, path → operations."""
    model = _parameter("path", "model", {"type": "string"}, gateway.default_vision_model)
    version = _parameter("path", "version", {"type": "string"}, "1.0")
    general = {
        "/models/{model}/predict": _general(gateway, "The default version answers.", [model]),
        "/models/{model}/versions/{version}/predict": _general(gateway, "That version answers.", [model, version]),
    }
    return general | {alias.path: _short(alias) for alias in gateway.aliases}


def _general(gateway: GatewaySettings, words: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    state = next((alias.example for alias in gateway.aliases if alias.request == "state" and alias.example), {})
    examples = {
        "picture": {"summary": "a picture", "value": _IMAGE},
        "pictures": {"summary": "several pictures", "value": {"instances": [_IMAGE, _IMAGE]}},
        "state": {"summary": "a policy's state, named", "value": state},
        "array": {"summary": "a policy's state, as an array", "value": list(state.values())},
        "parts": {"summary": "a policy's state of several parts", "value": _PARTS},
    }
    body = {
        "application/json": {"schema": {"oneOf": [{"type": "object"}, {"type": "array"}]}, "examples": examples},
        "multipart/form-data": {"schema": _upload("file")},
        "image/*": {"schema": _FILE},
        "application/octet-stream": {"schema": _FILE},
    }
    operation = _operation("Predict", f"{words} Pictures or states, as the model reads them.", parameters, body, None)
    operation["post"]["responses"]["200"]["content"]["application/json"] = {"examples": _predictions()}
    return operation


def _predictions() -> dict[str, Any]:
    """An example of the answer of each output kind."""
    return {
        kind.name: {"value": {"model": "name", "version": "1.0", "predictions": [kind.example]}}
        for kind in outputs.kinds()
    }


def _short(alias: Alias) -> dict[str, Any]:
    words = f"Short route of model `{alias.model}`."
    return _operation(f"Short route {alias.path}", words, [], _short_body(alias), _RESPONSES[alias.response])


def _short_body(alias: Alias) -> dict[str, Any]:
    if alias.request == "state":
        return {"application/json": {"schema": {"type": "object"}, "example": alias.example or {}}}
    if alias.request == "picture_base64":
        schema = {"type": "object", "properties": {"image": {"type": "string"}}, "required": ["image"]}
        return {"application/json": {"schema": schema, "example": _IMAGE}}
    return {"multipart/form-data": {"schema": _upload("image")}}


def _upload(field: str) -> dict[str, Any]:
    return {"type": "object", "properties": {field: _FILE}, "required": [field]}


def _operation(
    summary: str, words: str, parameters: list[dict[str, Any]], body: dict[str, Any], good: Any
) -> dict[str, Any]:
    deadline = _parameter("header", "X-Deadline-Ms", {"type": "integer", "minimum": 1}, 5000)
    request_id = _parameter("header", "X-Request-Id", {"type": "string"}, "order-66")
    return {
        "post": {
            "tags": ["predictions"],
            "summary": summary,
            "description": words,
            "parameters": [*parameters, deadline, request_id],
            "requestBody": {"required": True, "content": body},
            "responses": {str(status): answer for status, answer in answers(good, *_ERRORS).items()},
        }
    }


def _parameter(place: str, name: str, schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"in": place, "name": name, "required": place == "path", "schema": schema, "example": example}
