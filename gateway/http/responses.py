"""Responses: JSON as bytes, and every error in one shape."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Message, Scope, Send

from errors import RequestError
from gateway.http.context import RESPOND, header
from gateway.security import Origins

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


_PAGE = [(b"x-frame-options", b"DENY"), (b"referrer-policy", b"no-referrer")]


class Stamped:
    """Sends one answer with the headers that all answers have; `status` is 0 until it begins.

    An answer that is whole at once goes out in one write where the server can do that.
    """

    __slots__ = ("_origins", "_request_id", "_scope", "_send", "_start", "status")

    def __init__(self, scope: Scope, send: Send, request_id: str, origins: Origins | None) -> None:
        self._scope = scope
        self._send = send
        self._request_id = request_id.encode("ascii")
        self._origins = origins
        self._start: Message | None = None
        self.status = 0

    async def __call__(self, message: Message) -> None:
        """ASGI's `send`."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = self._headers(message)
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            respond = self._scope.get("extensions", {}).get(RESPOND)
            if respond is not None and not message.get("more_body", False) and "body" in message:
                respond(start["status"], start["headers"], message["body"])
                return
            if self._scope["http_version"] == "1.0":
                start["headers"].append((b"connection", b"close"))  # the end of what comes in pieces, for an old client
            await self._send(start)
        await self._send(message)

    def _headers(self, message: Message) -> list[tuple[bytes, bytes]]:
        given: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
        given += ((b"x-request-id", self._request_id), (b"x-content-type-options", b"nosniff"))
        if (header(given, b"content-type") or "").startswith("text/html"):
            given += _PAGE
        if self._origins is not None:
            given += self._origins.headers(self._scope["headers"])
        services = self._scope["state"].get("services")
        if services is not None and services.stopping.asked:
            given.append((b"connection", b"close"))
        return given
