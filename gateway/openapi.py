"""The OpenAPI document.

FastAPI derives the plain routes from their functions and the `responses` that these declare. The prediction and
inference routes read their bodies themselves, so they are written out here.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from errors import REQUEST_ERRORS, NotAllowed, RequestError
from gateway import examples
from gateway.answer_schema import Schema, schema_of
from gateway.http.responses import HttpResponse
from handlers import outputs
from handlers.outputs import adopted
from handlers.outputs.output_kind import OutputKind
from settings.schema import Alias, GatewaySettings

_FILE = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
_IMAGE = {"image": examples.PICTURE_BASE64}

# The error of each status: the first of several.
_ERRORS: dict[int, type[RequestError]] = {error.status: error for error in reversed(REQUEST_ERRORS)}
# Errors that every route can answer, and those of a prediction.
_COMMON = (401, 403, 429)
_PREDICTION = (400, 404, 413, 415, 422, 429, 500, 503, 504)
_INFERENCE = (400, 404, 413, 415, 422, 500, 501, 503, 504)

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
_NULL = {"type": "null"}
_PARAMETERS_SCHEMA = {"anyOf": [{"type": "object"}, _NULL]}
# As the protocol's own document has it; the data of a tensor are numbers, truths or strings, flat or nested.
_TENSOR_SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "parameters": _PARAMETERS_SCHEMA,
        "data": {"type": "array", "items": {}},
    },
    "required": ["name", "datatype", "shape"],
}
_INFERRED_SCHEMA = {
    "type": "object",
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "outputs": {"type": "array", "items": _TENSOR_SCHEMA},
    },
    "required": ["model_name", "outputs"],
}
_INFER_SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"anyOf": [{"type": "string"}, _NULL]},
        "parameters": _PARAMETERS_SCHEMA,
        "inputs": {"type": "array", "items": _TENSOR_SCHEMA},
        "outputs": {"anyOf": [{"type": "array", "items": {"type": "object"}}, _NULL]},
    },
    "required": ["inputs"],
}
# What FastAPI adds to routes with parameters; the gateway answers such errors in its own form.
_FRAMEWORK_ERROR = {
    "description": "Validation Error",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/HTTPValidationError"}}},
}
_KEY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}


def responses(example: Any, *errors: int, schema: Schema | None = None) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route: an example of its answer, its schema (else the example's), and its errors."""
    return answered(example, schema) | {status: _error(status) for status in sorted({*errors, *_COMMON})}


def oip_responses(example: Any, *errors: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route of the Open Inference Protocol."""
    return answered(example) | {status: _oip_error(status) for status in sorted({*errors, *_COMMON})}


def error_responses(
    write_error: Callable[[RequestError, str], HttpResponse], *errors: type[RequestError]
) -> dict[int | str, dict[str, Any]]:
    """Return the error responses of another dialect, with examples as it writes them."""
    found: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        response = write_error(error(error.summary), examples.REQUEST_ID)
        found.setdefault(response.status, _json(error.summary, orjson.loads(response.body)))
    return found


def optional_body(example: dict[str, Any]) -> dict[str, Any]:
    """Return the `openapi_extra` of a route with a JSON body that clients may leave out."""
    content = {"schema": {"type": "object"}, "examples": {"body": {"value": example}}}
    return {"requestBody": {"required": False, "content": {"application/json": content}}}


def operation_id(route: APIRoute) -> str:
    """Return the name of a route's operation, from which generators of clients make a function's."""
    return route.name + ("_of_version" if "{version}" in route.path else "")


def document(app: FastAPI, gateway: GatewaySettings, dialects: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole document; `dialects` are the path items of other servers' dialects."""
    content = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    written = prediction_paths(gateway) | _inference_paths() | dict(dialects)
    content["paths"] |= {
        path: {method: {"operationId": _id_of(method, path)} | operation for method, operation in operations.items()}
        for path, operations in written.items()
    }
    for operations in content["paths"].values():
        for operation in operations.values():
            if operation["responses"].get("422") == _FRAMEWORK_ERROR:
                del operation["responses"]["422"]
    components: dict[str, Any] = {"schemas": {"Error": _ERROR_SCHEMA, "InferenceError": _OIP_ERROR_SCHEMA}}
    components["schemas"] |= {_schema_name(kind): kind.schema for kind in _own_kinds()}
    content["components"] = components
    if gateway.security.api_keys:
        components["securitySchemes"] = _KEY_SCHEMES
        content["security"] = [{name: []} for name in _KEY_SCHEMES]
    return content


def prediction_paths(gateway: GatewaySettings) -> dict[str, Any]:
    """Return the prediction routes, short ones included, as operations by path."""
    model = path_parameter("model", gateway.default_vision_model or "digits")
    version = path_parameter("version", "1.0")
    general = {
        "/models/{model}/predict": _general(gateway, "predict", "The default version responses.", [model]),
        "/models/{model}/versions/{version}/predict": _general(
            gateway, "predict_of_version", "That version responses.", [model, version]
        ),
    }
    return general | {alias.path: _short(alias) for alias in gateway.aliases}


def _general(gateway: GatewaySettings, name: str, text: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    state = next((alias.example for alias in gateway.aliases if alias.request == "state" and alias.example), {})
    bodies = {
        "picture": {"summary": "a picture", "value": _IMAGE},
        "pictures": {"summary": "several pictures", "value": {"instances": [_IMAGE, _IMAGE]}},
        "state": {"summary": "a policy's state, named", "value": state},
        "parts": {"summary": "a policy's state of several parts", "value": examples.OBSERVATION_PARTS},
        "tensors": {"summary": "tensors by name, several instances", "value": examples.TENSORS},
        "rows": {"summary": "rows of a table", "value": examples.ROWS},
    }
    body = {
        # A schema with the array too would be true, but generators of clients cannot tell such a union from a file.
        "application/json": {"schema": {"type": "object"}, "examples": bodies},
        "multipart/form-data": {"schema": _upload("file")},
        "image/*": {"schema": _FILE},
        "application/octet-stream": {"schema": _FILE},
    }
    operation = _prediction(
        "Predict",
        f"{text} Pictures, states, tensors or rows, as the model reads them; a state may also be an array.",
        parameters,
        body,
        None,
    )
    shown: dict[str, dict[str, Any]] = {
        kind.name: {"value": {"model": "name", "version": "1.0", "predictions": [kind.example]}}
        for kind in _own_kinds()
    }
    shown[adopted.KIND.name] = {
        "summary": "an adopted archive answers as its own handler does",
        "value": adopted.KIND.example["answer"]["json"],
    }
    operation["post"]["responses"]["200"]["content"]["application/json"] = {"schema": _answers(), "examples": shown}
    operation["post"]["operationId"] = name
    return operation


def _answers() -> dict[str, Any]:
    """Return the schema of an answer of any kind; an adopted archive's handler may answer with anything."""
    kinds = [{"$ref": f"#/components/schemas/{_schema_name(kind)}"} for kind in _own_kinds()]
    text = {"type": "string"}
    answer = {
        "type": "object",
        "properties": {
            "model": text,
            "version": text,
            "weights": {**text, "const": "random", "description": "present where the model is not trained"},
            "predictions": {"type": "array", "items": {"anyOf": kinds}},
        },
        "required": ["model", "version", "predictions"],
    }
    return {"anyOf": [answer, {"description": "the answer of an adopted archive's own handler"}]}


def _own_kinds() -> list[OutputKind]:
    return [kind for kind in outputs.kinds() if kind is not adopted.KIND]


def _schema_name(kind: OutputKind) -> str:
    return f"{kind.name.capitalize()}Prediction"


def _short(alias: Alias) -> dict[str, Any]:
    chosen = "the only served model that fits" if alias.model is None else f"model `{alias.model}`"
    text = f"Short route of {chosen}."
    answer = examples.SHORT_RESPONSES[alias.response]
    return _prediction(f"Short route {alias.path}", text, [], _short_body(alias), answer)


def _short_body(alias: Alias) -> dict[str, Any]:
    if alias.request == "state":
        return {"application/json": {"schema": {"type": "object"}, "example": alias.example or {}}}
    if alias.request == "picture_base64":
        schema = {"type": "object", "minProperties": 1, "maxProperties": 1}
        return {"application/json": {"schema": schema, "example": _IMAGE}}
    return {"multipart/form-data": {"schema": _upload("image")}}


def _upload(field: str) -> dict[str, Any]:
    return {"type": "object", "properties": {field: _FILE}, "required": [field]}


def forwarded(
    tag: str,
    summary: str,
    text: str,
    parameters: list[dict[str, Any]],
    answer: dict[int | str, dict[str, Any]],
    *,
    json_example: Any,
    json_only: bool = False,
) -> dict[str, Any]:
    """Return the operation of another server's route for predictions or explanations."""
    json_body = {"application/json": {"schema": {"type": "object"}, "example": json_example}}
    anything = {
        "application/octet-stream": {"schema": _FILE},
        "*/*": {"schema": _FILE},
        "multipart/form-data": {"schema": _upload("data")},
    }
    body = json_body if json_only else json_body | anything
    found: dict[str, Any] = _post(tag, summary, text, parameters, body, answer)["post"]
    return found


def path_parameter(name: str, example: str) -> dict[str, Any]:
    """Return the parameter of a path."""
    return _parameter("path", name, {"type": "string"}, example)


def answered(example: Any, schema: Schema | None = None) -> dict[int | str, dict[str, Any]]:
    """Return the good response with this example and, unless another is given, its schema."""
    return {200: _json("The answer", example, schema)}


def _json(description: str, example: Any, schema: Schema | None = None) -> dict[str, Any]:
    content = {"schema": schema or schema_of(example), "example": example}
    return {"description": description, "content": {"application/json": content}}


def _id_of(method: str, path: str) -> str:
    words = re.sub(r"\W+", "_", path).strip("_")
    return f"{method}_{words}" + ("_slash" if path.endswith("/") else "")


def _prediction(
    summary: str, text: str, parameters: list[dict[str, Any]], body: dict[str, Any], answer: Any
) -> dict[str, Any]:
    deadline = _parameter("header", "X-Deadline-Ms", {"type": "integer", "minimum": 1}, 5000)
    request_id = _parameter("header", "X-Request-Id", {"type": "string"}, "order-66")
    return _post(
        "predictions", summary, text, [*parameters, deadline, request_id], body, responses(answer, *_PREDICTION)
    )


def _inference_paths() -> dict[str, Any]:
    model = path_parameter("model", "cartpole")
    version = path_parameter("version", "1.0")
    return {
        "/v2/models/{model}/infer": _inference("infer", "The default version responses.", [model]),
        "/v2/models/{model}/versions/{version}/infer": _inference(
            "infer_of_version", "That version responses.", [model, version]
        ),
    }


def _inference(name: str, text: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    text = f"{text} Tensors as GET /v2/models/{{model}} lists them; raw ones may follow the JSON."
    bodies = {
        "state": {"summary": "a policy's observation", "value": examples.OIP_STATE},
        "picture": {"summary": "a picture, in base64", "value": examples.OIP_PICTURE},
        "tensors": {"summary": "named tensors", "value": examples.OIP_TENSORS},
    }
    body = {"application/json": {"schema": _INFER_SCHEMA, "examples": bodies}}
    documented = oip_responses(examples.OIP_INFERRED, *_INFERENCE)
    documented[200]["content"]["application/json"]["schema"] = _INFERRED_SCHEMA
    operation = _post("open inference protocol", "Infer", text, parameters, body, documented)
    operation["post"]["operationId"] = name
    return operation


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
    schema = {"$ref": "#/components/schemas/InferenceError"}
    content = {"schema": schema, "example": {"error": error.summary, "request_id": examples.REQUEST_ID}}
    return {"description": error.summary, "content": {"application/json": content}}
