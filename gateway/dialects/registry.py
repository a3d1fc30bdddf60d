"""The registry of the dialects that the gateway answers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from errors import RequestError
from gateway.dialects import kserve_v1, native, open_inference, sagemaker, short_routes, torchserve, vertex
from gateway.dialects.dialect import Dialect, DialectRoute, PredictionPath
from gateway.http.responses import HttpResponse
from settings.schema import GatewaySettings


@dataclass(frozen=True, slots=True)
class Dialects:
    """The registry: all dialects that this gateway answers, those that name whole paths first."""

    dialects: tuple[Dialect, ...]
    find: Callable[[str], PredictionPath | None] = field(init=False)
    """Return the prediction of a path; None for a path of no route."""
    owner: Callable[[str], Dialect] = field(init=False)
    """Return the dialect that a path, or the template of one, belongs to."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "find", lru_cache(maxsize=1024)(self._find))
        object.__setattr__(self, "owner", lru_cache(maxsize=1024)(self._owner))

    def _find(self, path: str) -> PredictionPath | None:
        found = (dialect.find(path) for dialect in self.dialects)
        return next((each for each in found if each is not None), None)

    @property
    def routes(self) -> dict[str, DialectRoute]:
        """The routes of all dialects by template; of several with one template, that of the first dialect."""
        return {route.template: route for dialect in reversed(self.dialects) for route in dialect.routes}

    @property
    def documentation(self) -> dict[str, Any]:
        """The OpenAPI path items of all dialects."""
        return {path: item for dialect in reversed(self.dialects) for path, item in dialect.documentation.items()}

    def write_error(self, path: str, error: RequestError, request_id: str) -> HttpResponse:
        """Return the response to a request for this path that failed, in the shape that its client reads."""
        return self.owner(path).write_error(error, request_id)

    def not_found(self, path: str) -> str | None:
        """Return the text for a path without a route; None where the dialect defines no text."""
        text = self.owner(path).not_found
        return None if text is None else f"{path[:80]} {text}"

    def _owner(self, path: str) -> Dialect:
        return next((dialect for dialect in self.dialects if dialect.owns(path)), native.DIALECT)


def dialects_for(gateway: GatewaySettings) -> Dialects:
    """Return the dialects that the configuration turns on."""
    on, short = gateway.dialects, short_routes.dialect(gateway.aliases)
    found = [] if on.vertex_predict is None else [vertex.dialect(on.vertex_predict, on.model)]
    found += [short, native.DIALECT]
    if on.torchserve:
        found.append(torchserve.DIALECT)
    if on.kserve_v1:
        found.append(kserve_v1.DIALECT)
    if on.sagemaker:
        found += sagemaker.dialects(on.model)
    return Dialects((*found, open_inference.DIALECT))
