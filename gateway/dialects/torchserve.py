"""TorchServe's Inference API: predictions and explanations, answered as the model's handler writes them.

A body of any type goes on. For the project's own models, its pictures become raw bytes or JSON first; an archive of
another maker gets the body, a whole form included, as the client sent it.
"""

from engines.torchserve.api import EXPLANATIONS, PING, PREDICTIONS
from engines.torchserve.error_responses import as_response
from errors import REQUEST_ERRORS, Forbidden, RequestError
from gateway import examples
from gateway.dialects import native
from gateway.dialects.dialect import Dialect, DialectRoute, PredictionPath
from gateway.http.body import Body
from gateway.http.payload import Form, Payload, to_explain, with_targets
from gateway.http.responses import HttpResponse, error_content
from gateway.model_card import Kind
from gateway.openapi import answered, error_responses, forwarded, path_parameter

METHODS = ("POST", "PUT")  # curl -T sends PUT


def write_error(error: RequestError, request_id: str) -> HttpResponse:
    """Return {"code", "type", "message"}; `type` is one of TorchServe's exceptions."""
    del request_id
    return error_content(as_response(error), error)


def read_any(form: Form) -> Form:
    """Return the reader of predictions or explanations that also passes on what only a handler can read."""

    def read(body: Body, kind: Kind | None) -> Payload:
        if kind is None or body.media_type.startswith("text/"):
            return Payload(body.content_type, body.data)
        return form(body, kind)

    return read


def _find(path: str) -> PredictionPath | None:
    if "%" in path or "?" in path:
        return None
    root, _, rest = path[1:].partition("/")
    if f"/{root}" not in (PREDICTIONS, EXPLANATIONS):
        return None
    match rest.split("/"):
        case [model] if model:
            return PredictionPath(f"/{root}/{{model}}", model)
        case [model, version] if model and version:
            return PredictionPath(f"/{root}/{{model}}/{{version}}", model, version)
    return None


def _routes() -> tuple[DialectRoute, ...]:
    readers: tuple[tuple[str, Form, bool], ...] = (
        (PREDICTIONS, read_any(with_targets), False),
        (EXPLANATIONS, read_any(to_explain), True),
    )
    return tuple(
        DialectRoute(f"{root}/{path}", read, native.write, explains=explains, methods=METHODS)
        for root, read, explains in readers
        for path in ("{model}", "{model}/{version}")
    )


def _documentation() -> dict[str, dict[str, dict[str, object]]]:
    errors = error_responses(write_error, *(error for error in REQUEST_ERRORS if error is not Forbidden))
    parameters = [path_parameter("model", "digits"), path_parameter("version", "1.0")]
    found = {}
    for route in ROUTES:
        verb = route.template.split("/")[1]
        of_path = parameters[: route.template.count("{")]
        text = f"{verb.capitalize()} as TorchServe's clients request them; the handler's answer is passed on."
        answer = answered(examples.HANDLER_ANSWERS[verb]) | errors
        example = {"image": examples.PICTURE_BASE64}
        operation = forwarded("torchserve", verb.capitalize(), text, of_path, answer, json_example=example)
        found[route.template] = {method.lower(): operation for method in METHODS}
    return found


ROUTES = _routes()
DIALECT = Dialect(
    find=_find,
    routes=ROUTES,
    write_error=write_error,
    prefixes=(PING, PREDICTIONS, EXPLANATIONS),
    documentation=_documentation(),
)
