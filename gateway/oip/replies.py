"""Errors of the protocol's routes: its clients read the words from `error`."""

from collections.abc import Mapping

from starlette.responses import Response

from errors import RequestError
from gateway.http.responses import json_response


def protocol_error(error: RequestError, request_id: str) -> Response:
    """{"error": words}, as the protocol has it, and the request id beside it."""
    return json_response({"error": error.detail, "request_id": request_id}, error.status, error.headers)


def is_protocol(path: str) -> bool:
    """Whether a path is one of the protocol's."""
    return path == "/v2" or path.startswith("/v2/")


def no_such_call(path: str, status: int, words: str, request_id: str, headers: Mapping[str, str] | None) -> Response:
    """What a call of an extension that is not here gets, or one with another method."""
    if status == 404:
        words = f"{path[:80]} is not offered here; /v2 lists the extensions that are"
    return json_response({"error": words, "request_id": request_id}, status, headers)
