"""Responses: JSON as bytes, and every error in one shape."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Send

from errors import RequestError

JSON = "application/json"


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(orjson.dumps(content), status, headers, media_type=JSON)


async def send_bytes(
    send: Send,
    body: bytes,
    status: int = 200,
    content_type: str = JSON,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """An answer whose bytes are there already, without the web framework's response object."""
    head = [
        (b"content-type", content_type.encode("latin-1")),
        (b"content-length", str(len(body)).encode("ascii")),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


def error_response(error: RequestError, request_id: str) -> Response:
    """What a client is told when something is wrong: {"error", "detail", "request_id"} under the true status."""
    return problem(error.status, error.code, error.detail, request_id, error.headers)


def problem(status: int, code: str, detail: str, request_id: str, headers: Mapping[str, str] | None = None) -> Response:
    """The one shape of every error."""
    return json_response({"error": code, "detail": detail, "request_id": request_id}, status, headers)
