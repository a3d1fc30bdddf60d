"""Who may ask at all without an API key: nobody from another machine, unless that was asked for, and no other site.

A browser lets a page ask its own site only, but the page's owner says which address that site has, 127.0.0.1 included
(DNS rebinding). What such a request cannot hide is the site's name in `Host`.
"""

import re
import socket
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from errors import Forbidden
from gateway.http.context import header
from settings.schema import GatewaySettings

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:/@\s]+))(?::[0-9]*)?")


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether an address or name can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class LoopbackMiddleware:
    """Refuses what comes over the network, whoever started the server and on which host.

    `uvicorn app:app --host 0.0.0.0` never asks the settings, but each connection tells its local address.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets connections to a loopback address through, and such without an address: a Unix socket."""
        server = scope.get("server")
        if scope["type"] == "http" and server is not None and server[1] is not None and not is_loopback(server[0]):
            raise Forbidden("this gateway answers its own machine only; gateway.security.api_keys opens it")
        await self._app(scope, receive, send)


class Sites:
    """The names under which the gateway is asked: loopback, the address that it is bound to, and those of the settings.

    One that is open to other machines (`gateway.insecure`) also answers to the machine's name and to any address:
    only a name can be pointed elsewhere.
    """

    def __init__(self, gateway: GatewaySettings) -> None:
        own = {gateway.host, *gateway.security.hosts, *([socket.gethostname()] if gateway.insecure else [])}
        self._names = frozenset(name.lower() for name in own)
        self._addresses = gateway.insecure
        self.knows = lru_cache(maxsize=1024)(self._knows)

    def _knows(self, host: str | bytes, local: str | None) -> bool:
        """Whether a Host header names one of them; `local` is the address at which the connection arrived."""
        text = host.decode("latin-1") if isinstance(host, bytes) else host
        found = _HOST.fullmatch(text.lower())
        if found is None:
            return False
        name = (found[1] or found[2]).removesuffix(".")
        if is_loopback(name) or name.endswith(".localhost") or name == local or name in self._names:
            return True
        return self._addresses and _is_address(name)


class KnownSites:
    """Refuses requests whose Host header names another site."""

    def __init__(self, app: ASGIApp, sites: Sites) -> None:
        self._app = app
        self._sites = sites

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets requests through that name this gateway, and all that come over a Unix socket: no browser does that."""
        server = scope.get("server")
        if scope["type"] == "http" and server is not None and server[1] is not None:
            host = header(scope["headers"], b"host")
            if host is not None and not self._sites.knows(host, server[0]):
                words = "the Host header names another site; list it in gateway.security.hosts, or ask for API keys"
                raise Forbidden(words)
        await self._app(scope, receive, send)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


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
