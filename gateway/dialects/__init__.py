"""The dialects of the gateway's clients, and the registry of those that it answers.

    native           /models/{model}/predict
    short_routes     the short routes that the configuration names
    open_inference   /v2/models/{model}/infer; `gateway.oip` reads its tensors

A dialect is one file that makes a `dialect.Dialect`, and one line in `dialects_for`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from errors import RequestError
from gateway.dialects import native, open_inference, short_routes
from gateway.dialects.dialect import Dialect, DialectRoute, PredictionPath
from gateway.http.responses import HttpResponse
from settings.schema import GatewaySettings


@dataclass(frozen=True, slots=True)
class Dialects:
    """The registry: all dialects that this gateway answers, those that name whole paths first."""

    dialects: tuple[Dialect, ...]
    find: Callable[[str], PredictionPath | None] = field(init=False)
    """Return the prediction of a path; None for a path of no route."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "find", lru_cache(maxsize=1024)(self._find))

    def _find(self, path: str) -> PredictionPath | None:
        found = (dialect.find(path) for dialect in self.dialects)
        return next((each for each in found if each is not None), None)

    @property
    def routes(self) -> dict[str, DialectRoute]:
        """The routes of all dialects by template."""
        return {route.template: route for dialect in self.dialects for route in dialect.routes}

    def write_error(self, path: str, error: RequestError, request_id: str) -> HttpResponse:
        """Return the response to a request for this path that failed, in the shape that its client reads."""
        return self._owner(path).write_error(error, request_id)

    def not_found(self, path: str) -> str | None:
        """Return the text for a path without a route; None where the dialect defines no text."""
        text = self._owner(path).not_found
        return None if text is None else f"{path[:80]} {text}"

    def _owner(self, path: str) -> Dialect:
        for dialect in self.dialects:
            if dialect.prefix is not None and (path == dialect.prefix or path.startswith(f"{dialect.prefix}/")):
                return dialect
        return native.DIALECT


def dialects_for(gateway: GatewaySettings) -> Dialects:
    """Return the dialects that the configuration turns on."""
    return Dialects((short_routes.dialect(gateway.aliases), native.DIALECT, open_inference.DIALECT))
