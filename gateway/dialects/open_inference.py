"""The Open Inference Protocol over REST: its prediction paths and its errors; `gateway.oip` answers its routes."""

from functools import partial

from errors import RequestError
from gateway.dialects.dialect import Dialect, find_model_path
from gateway.http.responses import HttpResponse, error_content

TEMPLATES = ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer")


def write_error(error: RequestError, request_id: str) -> HttpResponse:
    """Return {"error": text}, as the protocol has it, with the request id beside it."""
    return error_content({"error": error.detail, "request_id": request_id}, error)


DIALECT = Dialect(
    find=partial(find_model_path, root="/v2/models", verb="infer"),
    write_error=write_error,
    prefixes=("/v2",),
    not_found="is not offered here; /v2 lists the extensions that are",
)
