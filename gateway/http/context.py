"""What the gateway knows about one request while it is on its way."""

import math
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.types import Scope

Headers = Iterable[tuple[bytes, bytes]]

RESPOND = "marina.respond"
"""ASGI extension of our own protocol: sends a whole response in one write."""

_KEY = "marina.exchange"


@dataclass(slots=True)
class RequestContext:
    """One request: its id and its start, and the route and model once they are known.

    Mutable because the edge makes it before routing and reads it after the answer.

    Attributes:
        request_id: printable ASCII, at most 128 characters.
        started: seconds of the event loop's clock.
        route: template of the route that answers, empty until one does.
        deadline: seconds of the event loop's clock, once it is known.
        model: name of a model that exists, empty until it is found; never what the client merely typed.
        headers: as they came, names in lower case.
        held: bytes of its body that the gateway counts as held until it is answered.

    """

    request_id: str
    started: float
    route: str = ""
    model: str = ""
    deadline: float = math.inf
    headers: Headers = ()
    held: int = 0


def attach(scope: Scope, exchange: RequestContext) -> None:
    """Puts the exchange where everything behind the edge finds it."""
    scope[_KEY] = exchange


def context_of(scope: Scope) -> RequestContext:
    """The exchange of the request that this scope belongs to."""
    exchange: RequestContext = scope[_KEY]
    return exchange


def header(headers: Headers, name: bytes) -> str | None:
    """First value of a header; `name` in lower case. None when it is not there."""
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None


REQUEST_ID_HEADER = b"x-request-id"

# Printable ASCII only, so that an id can stand in a header and in a log line as it is.
_SAFE = re.compile(r"[\x20-\x7e]{1,128}")


def accepted_id(offered: str | None) -> str:
    """The client's id when it is printable ASCII of at most 128 characters, else a new one of 32 hex digits."""
    if offered is not None and _SAFE.fullmatch(offered):
        return offered
    return secrets.token_hex(16)
