"""SageMaker: a container's routes, and the route of its runtime service, which its SDKs call.

    /invocations                          the model that the header names, the configured one, or the only one
    /models/{model}/invoke                the same for a container of several models
    /endpoints/{endpoint}/invocations     `invoke_endpoint` of an SDK whose endpoint URL is the gateway

A container reports errors as TorchServe, which SageMaker's containers for PyTorch run. The runtime service reports
those of a container as ModelError, with status and text of the container beside it.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from errors import REQUEST_ERRORS, Forbidden, NotAcceptable, RequestError, UnreadableInput
from gateway import examples
from gateway.catalog import Choice
from gateway.dialects import native, torchserve
from gateway.dialects.dialect import Dialect, DialectRoute, PredictionPath
from gateway.dialects.model_choice import named_or_only
from gateway.http.body import Body
from gateway.http.content import JSON, parse_json
from gateway.http.context import Headers, header
from gateway.http.payload import Payload, with_targets
from gateway.http.responses import HttpResponse, whole_response
from gateway.model_card import Kind
from gateway.openapi import answered, error_responses, forwarded, path_parameter
from gateway.served_models import Snapshot

INVOCATIONS, INVOKE, ENDPOINT = "/invocations", "/models/{model}/invoke", "/endpoints/{endpoint}/invocations"
CSV = "text/csv"

_TARGETS = (b"x-amzn-sagemaker-target-model", b"x-amzn-sagemaker-inference-component")
_ARCHIVES = (".tar.gz", ".mar")
_JSON_RANGES = frozenset({"*/*", "application/*", JSON})
_OF_SERVICE = {
    401: (403, "AccessDeniedException"),
    403: (403, "AccessDeniedException"),
    404: (400, "ValidationError"),
    405: (405, "MethodNotAllowed"),
    429: (429, "ThrottlingException"),
    503: (503, "ServiceUnavailable"),
}
_MODEL_ERROR = (424, "ModelError")


def read(body: Body, kind: Kind | None) -> Payload:
    """Read any form that the model takes, and for a policy rows of numbers as text/csv."""
    if kind != "policy" or body.media_type != CSV:
        return torchserve.read_any(with_targets)(body, kind)
    rows = b"],[".join(row for line in body.data.splitlines() if (row := line.strip()))
    data = b"[[" + rows + b"]]"
    try:
        return Payload(JSON, data, parse_json(data))
    except UnreadableInput:
        raise UnreadableInput("the CSV must be rows of numbers, one observation a row, without a header") from None


def check_accept(headers: Headers, kind: Kind | None) -> None:
    """Raise NotAcceptable when the client does not accept JSON; the handler of another maker decides by itself."""
    accept = header(headers, b"accept")
    if kind in (None, "adopted") or not accept:
        return
    if _JSON_RANGES.isdisjoint(part.partition(";")[0].strip().lower() for part in accept.split(",")):
        raise NotAcceptable(f"the model answers application/json, which Accept excludes: {accept[:100]}")


def write_runtime_error(error: RequestError, request_id: str) -> HttpResponse:
    """Return the error as an SDK reads it from SageMaker's runtime service."""
    status, name = _OF_SERVICE.get(error.status, _MODEL_ERROR)
    content: dict[str, Any] = {"Message": error.detail}
    if name == _MODEL_ERROR[1]:
        original = torchserve.write_error(error, request_id).body.decode()
        content |= {"OriginalStatusCode": error.status, "OriginalMessage": original, "LogStreamArn": ""}
    own = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in error.headers.items()]
    return whole_response(orjson.dumps(content), status, headers=[(b"x-amzn-errortype", name.encode()), *own])


def choice(model: str | None) -> Choice:
    """Return the choice of the model that a header names, or the path if it is served, or else of `model`."""
    otherwise = named_or_only(model)

    def choose(snapshot: Snapshot, headers: Headers, name: str | None) -> str:
        target = next((found for key in _TARGETS if (found := header(headers, key))), None)
        if target is not None:
            return _model_of(target)
        return name if name is not None and snapshot.find(name, None) else otherwise(snapshot, headers, name)

    return choose


def dialects(model: str | None) -> Sequence[Dialect]:
    """Return the dialects of a container and of the runtime service; `model` answers where a request names none."""
    choose = choice(model)
    container = (
        DialectRoute(INVOCATIONS, read, native.write, choose, check=check_accept),
        DialectRoute(INVOKE, read, native.write, check=check_accept),
    )
    runtime = (DialectRoute(ENDPOINT, read, native.write, choose, check=check_accept),)
    return (
        Dialect(
            _find_container,
            container,
            torchserve.write_error,
            documentation=_documentation({INVOCATIONS: [], INVOKE: [path_parameter("model", "digits")]}),
        ),
        Dialect(
            _find_runtime,
            runtime,
            write_runtime_error,
            prefixes=("/endpoints",),
            documentation=_documentation({ENDPOINT: [path_parameter("endpoint", "digits")]}, runtime=True),
        ),
    )


def _model_of(target: str) -> str:
    """Return the model of a target, which SageMaker's clients write as the path of its archive."""
    name = target.rpartition("/")[2]
    return next((name.removesuffix(suffix) for suffix in _ARCHIVES if name.endswith(suffix)), name)


def _find_container(path: str) -> PredictionPath | None:
    match path.split("/"):
        case ["", "invocations"]:
            return PredictionPath(INVOCATIONS)
        case ["", "models", model, "invoke"] if model and "%" not in model:
            return PredictionPath(INVOKE, model)
    return None


def _find_runtime(path: str) -> PredictionPath | None:
    match path.split("/"):
        case ["", "endpoints", endpoint, "invocations"] if endpoint:
            return PredictionPath(ENDPOINT, endpoint)
    return None


def _documentation(paths: dict[str, list[dict[str, Any]]], *, runtime: bool = False) -> dict[str, Any]:
    write = write_runtime_error if runtime else torchserve.write_error
    kept = REQUEST_ERRORS if runtime else [error for error in REQUEST_ERRORS if error is not Forbidden]
    answer = answered(examples.HANDLER_ANSWERS["predictions"]) | error_responses(write, *kept)
    target = {"in": "header", "name": "X-Amzn-SageMaker-Target-Model", "required": False, "schema": {"type": "string"}}
    example = {"image": examples.PICTURE_BASE64}
    text = "An invocation as SageMaker's clients send it."
    return {
        path: {"post": forwarded("sagemaker", "Invoke", text, [*parameters, target], answer, json_example=example)}
        for path, parameters in paths.items()
    }
