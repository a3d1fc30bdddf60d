"""Who may ask at all: nobody from another machine, unless that was asked for."""

from functools import lru_cache
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from errors import Forbidden


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether an address or name can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class LoopbackOnly:
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
