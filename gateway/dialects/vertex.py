"""Vertex AI: the route that its variable AIP_PREDICT_ROUTE names takes {"instances": [...], "parameters": {...}}."""

from typing import Any

import orjson

from errors import REQUEST_ERRORS, InvalidFields
from gateway import examples
from gateway.dialects import kserve_v1
from gateway.dialects.dialect import Dialect, DialectRoute, PredictionPath
from gateway.dialects.model_choice import named_or_only
from gateway.http.body import Body
from gateway.http.content import JSON
from gateway.http.payload import Payload, with_targets
from gateway.model_card import Kind
from gateway.openapi import answered, error_responses, forwarded


def read(body: Body, kind: Kind | None) -> Payload:
    """Read instances; parameters are the options of a policy's request, and pictures have none."""
    if kind in (None, "adopted"):
        return Payload(body.content_type, body.data)
    content = kserve_v1.instances_of(body)
    parameters = content.pop("parameters", None)
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, dict) or (parameters and kind != "policy"):
        raise InvalidFields("`parameters` must be an object of a policy's options; other models have none")
    if "instances" in parameters:
        raise InvalidFields("`parameters` must not hold `instances`")
    return with_targets(Body(JSON, {}, orjson.dumps(content | parameters), JSON), kind)


def dialect(path: str, model: str | None) -> Dialect:
    """Return the dialect of this route; `model` answers, or the only one that is served."""
    example: dict[str, Any] = {"instances": [{"b64": examples.PICTURE_BASE64}]}
    answer = answered({"predictions": examples.HANDLER_ANSWERS["predictions"]["predictions"]})
    answer |= error_responses(kserve_v1.write_error, *REQUEST_ERRORS)
    operation = forwarded(
        "vertex ai", "Predict", "Predictions for Vertex AI.", [], answer, json_example=example, json_only=True
    )
    return Dialect(
        find={path: PredictionPath(path)}.get,
        routes=(DialectRoute(path, read, kserve_v1.write_items("predictions"), named_or_only(model)),),
        write_error=kserve_v1.write_error,
        documentation={path: {"post": operation}},
    )
