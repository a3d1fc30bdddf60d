"""Errors of the protocol's routes: its clients read the words from `error`."""

from starlette.responses import Response

from errors import RequestError
from gateway.replies import json_response


def protocol_error(error: RequestError, request_id: str) -> Response:
    """{"error": words}, as the protocol has it, and the request id beside it."""
    return json_response({"error": error.detail, "request_id": request_id}, error.status, error.headers)
