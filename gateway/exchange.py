"""What the gateway knows about one request while it is on its way."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.types import Scope

Headers = Iterable[tuple[bytes, bytes]]

_KEY = "marina.exchange"


@dataclass(slots=True)
class Exchange:
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


def attach(scope: Scope, exchange: Exchange) -> None:
    """Puts the exchange where everything behind the edge finds it."""
    scope[_KEY] = exchange


def of(scope: Scope) -> Exchange:
    """The exchange of the request that this scope belongs to."""
    exchange: Exchange = scope[_KEY]
    return exchange


def header(headers: Headers, name: bytes) -> str | None:
    """First value of a header; `name` in lower case. None when it is not there."""
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None
