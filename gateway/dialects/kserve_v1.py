"""KServe's protocol V1: {"instances": [...]} → {"predictions": [...]} or {"explanations": [...]}.

The handler of an archive that another maker built reads the whole body and writes the whole response, as TorchServe's
KServe envelope does.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from errors import REQUEST_ERRORS, Internal, InvalidFields, WrongMediaType
from gateway import examples
from gateway.dialects import native, open_inference
from gateway.dialects.dialect import Dialect, DialectRoute, PredictionPath, with_version
from gateway.hooks import EngineResponse
from gateway.http.body import Body
from gateway.http.content import JSON, read_content
from gateway.http.payload import Form, Payload, to_explain, with_targets
from gateway.http.responses import HttpResponse, whole_response
from gateway.model_card import Kind
from gateway.openapi import answered, error_responses, forwarded, path_parameter

ROOT = "/v1/models"
_VERBS: Mapping[str, str] = {"predict": "predictions", "explain": "explanations"}

write_error = open_inference.write_error


def instances_of(body: Body) -> dict[str, Any]:
    """Return a body that is {"instances": [...]}, parsed. Raises WrongMediaType, UnreadableInput or InvalidFields."""
    content = read_content(body)
    if content.media_type != JSON:
        raise WrongMediaType('send application/json: {"instances": [...]}')
    if not isinstance(content.json, dict) or not isinstance(content.json.get("instances"), list):
        raise InvalidFields('the body must be {"instances": [...]}')
    return content.json


def read_instances(form: Form) -> Form:
    """Return the reader of instances of predictions or explanations."""

    def read(body: Body, kind: Kind | None) -> Payload:
        if kind in (None, "adopted"):
            return Payload(body.content_type, body.data)
        instances_of(body)
        return form(replace(body, media_type=JSON), kind)

    return read


def write_items(items: str) -> Callable[[EngineResponse], HttpResponse]:
    """Return the writer of {items: [...]}; a model with random weights says so beside them.

    What another maker's handler answers in another form is passed on as it is.
    """

    def write(response: EngineResponse) -> HttpResponse:
        if response.headers is not None:
            return native.write(response)
        try:
            content = response.content(items)
        except Internal:
            return native.write(response)
        kept = {name: content[name] for name in (items, "weights") if name in content}
        return with_version(whole_response(orjson.dumps(kept)), response.version)

    return write


def _find(path: str) -> PredictionPath | None:
    name, colon, verb = path.removeprefix(f"{ROOT}/").rpartition(":")
    if not path.startswith(f"{ROOT}/") or not name or not colon or verb not in _VERBS or "/" in name or "%" in name:
        return None
    return PredictionPath(f"{ROOT}/{{model}}:{verb}", name)


def _documentation() -> dict[str, dict[str, Any]]:
    errors = error_responses(write_error, *REQUEST_ERRORS)
    found = {}
    for verb, items in _VERBS.items():
        answer = answered({items: examples.HANDLER_ANSWERS[items][items]}) | errors
        example = {"instances": [{"b64": examples.PICTURE_BASE64}]}
        text = f"{items.capitalize()} of KServe's protocol V1."
        model = [path_parameter("model", "digits")]
        operation = forwarded("kserve v1", verb.capitalize(), text, model, answer, json_example=example, json_only=True)
        found[f"{ROOT}/{{model}}:{verb}"] = {"post": operation}
    return found


DIALECT = Dialect(
    find=_find,
    routes=(
        DialectRoute(f"{ROOT}/{{model}}:predict", read_instances(with_targets), write_items("predictions")),
        DialectRoute(
            f"{ROOT}/{{model}}:explain", read_instances(to_explain), write_items("explanations"), explains=True
        ),
    ),
    write_error=write_error,
    prefixes=("/v1",),
    documentation=_documentation(),
)
