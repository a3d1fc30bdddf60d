"""The checks of a gateway without API keys (only its own machine may use it, no other site's page), and CORS.

A browser lets a page use its own site only, but the page's owner chooses which address that site has, 127.0.0.1
included (DNS rebinding). What such a request cannot hide is the site's name in `Host`.
"""

import re
import socket
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from errors import Forbidden
from gateway.http.context import header
from gateway.http.responses import HttpResponse
from settings.schema import GatewaySettings

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:/@\s]+))(?::[0-9]*)?")


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Return True for an address or name that can be reached from this machine only."""
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def loopback_only(scope: Scope) -> None:
    """Raise Forbidden for a request over the network, whatever host the server listens on.

    `uvicorn app:app --host 0.0.0.0` never reads the settings, but each connection has its local address; one over a
    Unix socket has none.
    """
    server = scope.get("server")
    if server is not None and server[1] is not None and not is_loopback(server[0]):
        raise Forbidden("this gateway answers its own machine only; gateway.security.api_keys opens it")


class KnownHosts:
    """The names of this gateway: loopback, the address that it listens on, and those of the settings.

    One that is open to other machines (`gateway.insecure`) also accepts the machine's name and any address: only a
    name can be pointed elsewhere.
    """

    def __init__(self, gateway: GatewaySettings) -> None:
        own = {gateway.host, *gateway.security.hosts, *([socket.gethostname()] if gateway.insecure else [])}
        self._names = frozenset(name.lower() for name in own)
        self._addresses = gateway.insecure
        self.knows = lru_cache(maxsize=1024)(self._knows)

    def check(self, scope: Scope) -> None:
        """Raise Forbidden when the Host header names another site; no browser sends one over a Unix socket."""
        server = scope.get("server")
        if server is not None and server[1] is not None:
            host = header(scope["headers"], b"host")
            if host is not None and not self.knows(host, server[0]):
                raise Forbidden(
                    "the Host header names another site; list it in gateway.security.hosts, or require API keys"
                )

    def _knows(self, host: str | bytes, local: str | None) -> bool:
        """Return True when a Host header names this gateway; `local` is the address at which the connection arrived."""
        text = host.decode("latin-1") if isinstance(host, bytes) else host
        found = _HOST.fullmatch(text.lower())
        if found is None:
            return False
        name = (found[1] or found[2]).removesuffix(".")
        if is_loopback(name) or name.endswith(".localhost") or name == local or name in self._names:
            return True
        return self._addresses and _is_address(name)


class Preflight:
    """Answers the request that a browser sends before another site's page may send its own."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._cors = CORSMiddleware(
            _unused, allow_origins=origins, allow_methods=["GET", "HEAD", "POST", "PUT"], allow_headers=["*"]
        )

    def check(self, scope: Scope) -> HttpResponse | None:
        """Return the response to a preflight request, None for any other request."""
        if scope["method"] != "OPTIONS":
            return None
        headers = Headers(scope=scope)
        if "origin" not in headers or "access-control-request-method" not in headers:
            return None
        response = self._cors.preflight_response(headers)
        # The sender adds the allowed origin to every response.
        kept = [each for each in response.raw_headers if each[0] != b"access-control-allow-origin"]
        return HttpResponse(response.status_code, kept, bytes(response.body))


async def _unused(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand for the application that CORSMiddleware wraps; only its preflight response is used."""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
