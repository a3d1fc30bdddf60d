"""The OpenAPI document.

FastAPI derives the plain routes from their functions and the `responses` that these declare. The prediction and
inference routes read their bodies themselves, so they are written out here.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from errors import REQUEST_ERRORS, NotAllowed, RequestError
from gateway import examples
from handlers import outputs
from settings.schema import Alias, GatewaySettings

_FILE = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
_IMAGE = {"image": examples.PICTURE_BASE64}

# The error of each status: the first of several.
_ERRORS: dict[int, type[RequestError]] = {error.status: error for error in reversed(REQUEST_ERRORS)}
# Errors that every route can answer, and those of a prediction.
_COMMON = (401, 403, 429)
_PREDICTION = (400, 404, 413, 415, 422, 429, 500, 503, 504)
_INFERENCE = (400, 404, 413, 422, 500, 503, 504)

_ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "The form of every error.",
    "properties": {
        "error": {"type": "string", "description": "a code that stays the same"},
        "detail": {"type": "string", "description": "a text for people"},
        "request_id": {"type": "string", "description": "the id in X-Request-Id and in the log"},
    },
    "required": ["error", "detail", "request_id"],
    "additionalProperties": False,
}
_OIP_ERROR_SCHEMA = {
    "type": "object",
    "description": "The form of errors of the Open Inference Protocol.",
    "properties": {"error": {"type": "string"}, "request_id": {"type": "string"}},
    "required": ["error"],
}
_KEY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}


def responses(example: Any, *errors: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route: an example of its answer, and its errors."""
    good: dict[str, Any] = {"description": "The answer", "content": {"application/json": {"example": example}}}
    return {200: good, **{status: _error(status) for status in sorted({*errors, *_COMMON})}}


def oip_responses(example: Any, *errors: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route of the Open Inference Protocol."""
    return {**responses(example), **{status: _oip_error(status) for status in errors}}


def optional_body(example: dict[str, Any]) -> dict[str, Any]:
    """Return the `openapi_extra` of a route with a JSON body that clients may leave out."""
    content = {"schema": {"type": "object"}, "examples": {"body": {"value": example}}}
    return {"requestBody": {"required": False, "content": {"application/json": content}}}


def document(app: FastAPI, gateway: GatewaySettings) -> dict[str, Any]:
    """Return the whole document."""
    content = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    content["paths"] |= prediction_paths(gateway) | _inference_paths()
    components = content.setdefault("components", {})
    components.setdefault("schemas", {})["Error"] = _ERROR_SCHEMA
    if gateway.security.api_keys:
        components["securitySchemes"] = _KEY_SCHEMES
        content["security"] = [{name: []} for name in _KEY_SCHEMES]
    return content


def prediction_paths(gateway: GatewaySettings) -> dict[str, Any]:
    """Return the prediction routes, short ones included, as operations by path."""
    model = _parameter("path", "model", {"type": "string"}, gateway.default_vision_model)
    version = _parameter("path", "version", {"type": "string"}, "1.0")
    general = {
        "/models/{model}/predict": _general(gateway, "The default version responses.", [model]),
        "/models/{model}/versions/{version}/predict": _general(gateway, "That version responses.", [model, version]),
    }
    return general | {alias.path: _short(alias) for alias in gateway.aliases}


def _general(gateway: GatewaySettings, text: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    state = next((alias.example for alias in gateway.aliases if alias.request == "state" and alias.example), {})
    bodies = {
        "picture": {"summary": "a picture", "value": _IMAGE},
        "pictures": {"summary": "several pictures", "value": {"instances": [_IMAGE, _IMAGE]}},
        "state": {"summary": "a policy's state, named", "value": state},
        "array": {"summary": "a policy's state, as an array", "value": list(state.values())},
        "parts": {"summary": "a policy's state of several parts", "value": examples.OBSERVATION_PARTS},
    }
    body = {
        "application/json": {"schema": {"oneOf": [{"type": "object"}, {"type": "array"}]}, "examples": bodies},
        "multipart/form-data": {"schema": _upload("file")},
        "image/*": {"schema": _FILE},
        "application/octet-stream": {"schema": _FILE},
    }
    operation = _prediction("Predict", f"{text} Pictures or states, as the model reads them.", parameters, body, None)
    shown = {
        kind.name: {"value": {"model": "name", "version": "1.0", "predictions": [kind.example]}}
        for kind in outputs.kinds()
    }
    operation["post"]["responses"]["200"]["content"]["application/json"] = {"examples": shown}
    return operation


def _short(alias: Alias) -> dict[str, Any]:
    text = f"Short route of model `{alias.model}`."
    answer = examples.SHORT_RESPONSES[alias.response]
    return _prediction(f"Short route {alias.path}", text, [], _short_body(alias), answer)


def _short_body(alias: Alias) -> dict[str, Any]:
    if alias.request == "state":
        return {"application/json": {"schema": {"type": "object"}, "example": alias.example or {}}}
    if alias.request == "picture_base64":
        schema = {"type": "object", "properties": {"image": {"type": "string"}}, "required": ["image"]}
        return {"application/json": {"schema": schema, "example": _IMAGE}}
    return {"multipart/form-data": {"schema": _upload("image")}}


def _upload(field: str) -> dict[str, Any]:
    return {"type": "object", "properties": {field: _FILE}, "required": [field]}


def _prediction(
    summary: str, text: str, parameters: list[dict[str, Any]], body: dict[str, Any], answer: Any
) -> dict[str, Any]:
    deadline = _parameter("header", "X-Deadline-Ms", {"type": "integer", "minimum": 1}, 5000)
    request_id = _parameter("header", "X-Request-Id", {"type": "string"}, "order-66")
    return _post(
        "predictions", summary, text, [*parameters, deadline, request_id], body, responses(answer, *_PREDICTION)
    )


def _inference_paths() -> dict[str, Any]:
    model = _parameter("path", "model", {"type": "string"}, "cartpole")
    version = _parameter("path", "version", {"type": "string"}, "1.0")
    return {
        "/v2/models/{model}/infer": _inference("The default version responses.", [model]),
        "/v2/models/{model}/versions/{version}/infer": _inference("That version responses.", [model, version]),
    }


def _inference(text: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    text = f"{text} Tensors as GET /v2/models/{{model}} lists them; raw ones may follow the JSON."
    bodies = {
        "state": {"summary": "a policy's observation", "value": examples.OIP_STATE},
        "picture": {"summary": "a picture, in base64", "value": examples.OIP_PICTURE},
    }
    body = {"application/json": {"schema": {"type": "object"}, "examples": bodies}}
    documented = oip_responses(examples.OIP_INFERRED, *_INFERENCE)
    return _post("open inference protocol", "Infer", text, parameters, body, documented)


def _post(
    tag: str,
    summary: str,
    text: str,
    parameters: list[dict[str, Any]],
    body: dict[str, Any],
    documented: dict[int | str, dict[str, Any]],
) -> dict[str, Any]:
    operation = {
        "tags": [tag],
        "summary": summary,
        "description": text,
        "parameters": parameters,
        "requestBody": {"required": True, "content": body},
        "responses": {str(status): answer for status, answer in documented.items()},
    }
    return {"post": operation}


def _parameter(kind: str, name: str, schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"in": kind, "name": name, "required": kind == "path", "schema": schema, "example": example}


def _error(status: int) -> dict[str, Any]:
    error = _ERRORS[status]
    example = {"error": error.code, "detail": error.summary, "request_id": examples.REQUEST_ID}
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": error.summary, "content": {"application/json": {"schema": schema, "example": example}}}


def _oip_error(status: int) -> dict[str, Any]:
    error = NotAllowed if status == NotAllowed.status else _ERRORS[status]
    content = {"schema": _OIP_ERROR_SCHEMA, "example": {"error": error.summary, "request_id": examples.REQUEST_ID}}
    return {"description": error.summary, "content": {"application/json": content}}
