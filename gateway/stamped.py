"""What every answer carries, put on as it goes out."""

from starlette.types import Message, Scope, Send

from gateway import exchange
from gateway.origins import Origins
from gateway.protocol import RESPOND
from gateway.services import is_stopping

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
        if (exchange.header(given, b"content-type") or "").startswith("text/html"):
            given += _PAGE
        if self._origins is not None:
            given += self._origins.headers(self._scope["headers"])
        if is_stopping(self._scope):
            given.append((b"connection", b"close"))
        return given
