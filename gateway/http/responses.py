"""The one writer of responses and errors.

HttpResponse     a whole response; every answer and every error becomes one
CommonHeaders    the headers that each response carries: request id, nosniff, CORS
ResponseSender   sends a response through ASGI, in one write where the server can do that
response_head    the bytes of a response's head, for a connection that writes by itself
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from starlette.responses import Response
from starlette.types import Message, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from errors import RequestError
from gateway.http.context import Headers, header
from gateway.shutdown import Shutdown

JSON = "application/json"
RESPOND = "marina.respond"
"""ASGI extension of our own protocol: writes a whole response at once."""

BODILESS = frozenset({204, 205, 304})
"""Statuses whose responses have neither a body nor its length (RFC 9110)."""

EXPOSED = ("x-request-id", "x-model-version", "retry-after")

_NOSNIFF = (b"x-content-type-options", b"nosniff")
_PAGE = [(b"x-frame-options", b"DENY"), (b"referrer-policy", b"no-referrer")]
_CLOSE = (b"connection", b"close")
_ALLOW_ORIGIN = b"access-control-allow-origin"
_EXPOSE = (b"access-control-expose-headers", ", ".join(EXPOSED).encode("ascii"))
_VARY = (b"vary", b"Origin")


class HttpResponse(NamedTuple):
    """A whole response; names of headers in lower case."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def whole_response(
    body: bytes, status: int = 200, content_type: str = JSON, headers: Sequence[tuple[bytes, bytes]] = ()
) -> HttpResponse:
    """Return the response with this body."""
    head = [
        (b"content-type", content_type.encode("latin-1")),
        (b"content-length", b"%d" % len(body)),
        *headers,
    ]
    return HttpResponse(status, head, body)


def unread_response(body: bytes, status: int, headers: Headers) -> HttpResponse:
    """Return a response that another program wrote, with its own headers."""
    if status in BODILESS:
        return HttpResponse(status, list(headers), b"")
    return HttpResponse(status, [*headers, (b"content-length", b"%d" % len(body))], body)


def error_response(error: RequestError, request_id: str) -> HttpResponse:
    """Return the response to a request that failed: {"error", "detail", "request_id"} under the error's status."""
    content = {"error": error.code, "detail": error.detail, "request_id": request_id}
    return error_content(content, error)


def error_content(content: Mapping[str, Any], error: RequestError) -> HttpResponse:
    """Return an error in the shape of another dialect."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in error.headers.items()]
    return whole_response(orjson.dumps(content), error.status, headers=headers)


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response for a route of the web framework."""
    return Response(orjson.dumps(content), status, headers, media_type=JSON)


async def send_response(send: Send, response: HttpResponse) -> None:
    """Send a whole response through ASGI."""
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    await send({"type": "http.response.body", "body": response.body})


class CommonHeaders:
    """The headers that each response carries, CORS included.

    `origins` are the sites whose pages may read responses, `*` for every site; without any, CORS is off.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._cors = bool(origins)
        self._any = "*" in origins
        self._origins = frozenset(each.encode("latin-1") for each in origins)

    def of(self, request_id: str, request_headers: Headers) -> list[tuple[bytes, bytes]]:
        """Return the headers of the response to this request."""
        common = [(b"x-request-id", request_id.encode("ascii")), _NOSNIFF]
        return common + self._cors_headers(request_headers) if self._cors else common

    def _cors_headers(self, request_headers: Headers) -> list[tuple[bytes, bytes]]:
        origin = next((value for name, value in request_headers if name == b"origin"), None)
        if self._any:
            return [] if origin is None else [(_ALLOW_ORIGIN, b"*"), _EXPOSE]
        if origin is not None and origin in self._origins:
            return [(_ALLOW_ORIGIN, origin), _EXPOSE, _VARY]
        return [_VARY]


class ResponseSender:
    """ASGI's `send` for one request: adds the common headers; `status` is 0 until the response begins.

    A response that is whole at once leaves in one write where the server can do that.
    """

    __slots__ = ("_common", "_request_id", "_scope", "_send", "_shutdown", "_start", "status")

    def __init__(self, scope: Scope, send: Send, request_id: str, common: CommonHeaders, shutdown: Shutdown) -> None:
        self._scope = scope
        self._send = send
        self._request_id = request_id
        self._common = common
        self._shutdown = shutdown
        self._start: Message | None = None
        self.status = 0

    async def __call__(self, message: Message) -> None:
        """Send a message of ASGI; the start of a response waits for its body."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = self._headers(message)
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            respond = self._scope.get("extensions", {}).get(RESPOND)
            if respond is not None and not message.get("more_body", False) and "body" in message:
                respond(HttpResponse(start["status"], start["headers"], message["body"]))
                return
            if self._scope["http_version"] == "1.0":
                start["headers"].append(_CLOSE)  # an HTTP/1.0 client detects the body's end by it
            await self._send(start)
        await self._send(message)

    def _headers(self, message: Message) -> list[tuple[bytes, bytes]]:
        headers: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
        headers += self._common.of(self._request_id, self._scope["headers"])
        if (header(headers, b"content-type") or "").startswith("text/html"):
            headers += _PAGE
        if self._shutdown.requested:
            headers.append(_CLOSE)
        return headers


def response_head(status: int, headers: Headers) -> list[bytes]:
    """Return the status line and headers as pieces of bytes; `connection` headers are left to the connection."""
    head = [STATUS_LINE[status]]
    for name, value in headers:
        if name != b"connection":
            head += (name, b": ", value, b"\r\n")
    return head
