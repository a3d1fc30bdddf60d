"""Errors that the web framework raises by itself, in the one shape of every error."""

from http import HTTPStatus

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway import exchange
from gateway.oip.replies import is_protocol, no_such_call
from gateway.replies import problem


async def http_error(request: Request, error: Exception) -> Response:
    """No such route, or not with this method."""
    assert isinstance(error, HTTPException)
    request_id, path = exchange.of(request.scope).request_id, request.scope["path"]
    if is_protocol(path):
        return no_such_call(path, error.status_code, str(error.detail), request_id, error.headers)
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return problem(error.status_code, code, str(error.detail), request_id, error.headers)


async def validation_error(request: Request, error: Exception) -> Response:
    """Parameters of a route that the framework itself checks; their values are not repeated."""
    assert isinstance(error, RequestValidationError)
    found = "; ".join(f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors())
    return problem(422, "invalid_fields", found, exchange.of(request.scope).request_id)
