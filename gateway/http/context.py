"""The context of one request: its id, route, model and deadline, and its headers."""

import math
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.types import Scope

Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case and values."""

REQUEST_ID_HEADER = b"x-request-id"

# Printable ASCII only, so that an id can stand unchanged in a header and in a log line.
_SAFE_ID = re.compile(r"[\x20-\x7e]{1,128}")

_KEY = "marina.request"


@dataclass(slots=True)
class RequestContext:
    """One request: its id and its start, and the route and model once they are known.

    The middleware makes it before routing and reads it after the response, so it is mutable.

    Attributes:
        request_id: printable ASCII, at most 128 characters.
        started: seconds of the event loop's clock.
        route: template of the route that answers, empty until one does.
        model: name of a model that exists, empty until it is found; never unchecked text from the client.
        deadline: seconds of the event loop's clock, infinite until it is known.
        headers: as the client sent them, names in lower case.
        held: bytes of its body that count against the gateway's budget until the request ends.

    """

    request_id: str
    started: float
    route: str = ""
    model: str = ""
    deadline: float = math.inf
    headers: Headers = ()
    held: int = 0


def attach(scope: Scope, request: RequestContext) -> None:
    """Store the context in the request's scope."""
    scope[_KEY] = request


def context_of(scope: Scope) -> RequestContext:
    """Return the context of the request that this scope belongs to."""
    request: RequestContext = scope[_KEY]
    return request


def header(headers: Headers, name: bytes) -> str | None:
    """Return the first value of a header, None without one; `name` is in lower case."""
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None


def accepted_id(offered: str | None) -> str:
    """Return the client's id when it is printable ASCII of at most 128 characters, else a new one of 32 hex digits."""
    if offered is not None and _SAFE_ID.fullmatch(offered):
        return offered
    return secrets.token_hex(16)
