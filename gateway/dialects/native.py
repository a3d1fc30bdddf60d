"""The gateway's own dialect: every request form that the model reads, and the model's response unchanged."""

from functools import partial

from gateway.dialects.dialect import Dialect, DialectRoute, find_model_path, with_version
from gateway.hooks import EngineResponse
from gateway.http.payload import any_form
from gateway.http.responses import HttpResponse, unread_response, whole_response

TEMPLATES = ("/models/{model}/predict", "/models/{model}/versions/{version}/predict")


def write(response: EngineResponse) -> HttpResponse:
    """Pass the engine's bytes on; of an adopted archive's handler also status and headers."""
    if response.headers is not None:
        return with_version(unread_response(response.body, response.status, response.headers), response.version)
    return with_version(whole_response(response.body, content_type=response.content_type), response.version)


DIALECT = Dialect(
    find=partial(find_model_path, root="/models", verb="predict"),
    routes=tuple(DialectRoute(template, any_form, write, is_state=lambda _: True) for template in TEMPLATES),
)
