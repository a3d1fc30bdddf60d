"""CORS: which other sites' pages may read answers. Every answer says so, errors and the connection's own included."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

EXPOSED = ("x-request-id", "x-model-version", "retry-after")
_NAME = b"access-control-allow-origin"
_EXPOSED = (b"access-control-expose-headers", ", ".join(EXPOSED).encode("ascii"))
_VARY = (b"vary", b"Origin")

Pairs = Sequence[tuple[bytes, bytes]]


class Origins:
    """The origins that are allowed; `*` is every one."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._any = "*" in allowed
        self._allowed = frozenset(each.encode("latin-1") for each in allowed)

    def headers(self, asked: Pairs) -> list[tuple[bytes, bytes]]:
        """What an answer to a request with these headers carries."""
        origin = next((value for name, value in asked if name == b"origin"), None)
        if self._any:
            return [] if origin is None else [(_NAME, b"*"), _EXPOSED]
        return [(_NAME, origin), _EXPOSED, _VARY] if origin in self._allowed and origin is not None else [_VARY]


def origins_for(allowed: Sequence[str]) -> Origins | None:
    """None while CORS is off."""
    return Origins(allowed) if allowed else None


class Preflight:
    """Answers what a browser asks before it sends a request of another site's page."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self._app = app
        self._cors = CORSMiddleware(
            app, allow_origins=allowed, allow_methods=["GET", "HEAD", "POST"], allow_headers=["*"]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Only that; other requests are passed on."""
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            headers = Headers(scope=scope)
            if "origin" in headers and "access-control-request-method" in headers:
                response = self._cors.preflight_response(headers)
                if _NAME.decode() in response.headers:
                    del response.headers[_NAME.decode()]  # put on as it goes out, as on every answer
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)
