"""The interface of a dialect: its paths, and how it reads requests and writes responses and errors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from errors import RequestError
from gateway.catalog import Choice
from gateway.hooks import EngineResponse, Reply
from gateway.http.body import Body
from gateway.http.context import Headers
from gateway.http.payload import Payload
from gateway.http.responses import HttpResponse, error_response, whole_response
from gateway.model_card import Kind


@dataclass(frozen=True, slots=True)
class PredictionPath:
    """The path of a prediction: the template of its route, and the model and version when it names them."""

    template: str
    model: str | None = None
    version: str | None = None

    @property
    def parameters(self) -> dict[str, str]:
        """The path parameters by name, as a router gives them to an endpoint."""
        found = {"model": self.model, "version": self.version}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class DialectRoute:
    """One route of a dialect.

    Attributes:
        template: template of its path.
        read: converts a body, for a model of this kind, into the engine's payload.
        write: converts the engine's response into the client's.
        choose: returns the model that answers; None when it is the one that the path names.
        is_state: checks whether a JSON body may be one observation, which the fast path answers; None if it never is.
        explains: True when the engine explains the instances in place of predicting.
        methods: its HTTP methods, POST or PUT.
        check: raises the RequestError for headers that the response would not fit.

    """

    template: str
    read: Callable[[Body, Kind | None], Payload]
    write: Callable[[EngineResponse], HttpResponse]
    choose: Choice | None = None
    is_state: Callable[[bytes], bool] | None = None
    explains: bool = False
    methods: tuple[str, ...] = ("POST",)
    check: Callable[[Headers, Kind | None], None] | None = None


ErrorWriter = Callable[[RequestError, str], HttpResponse]
"""An error and the request id → the response."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of client: `find` returns the prediction of a path, None for a path of no route.

    The dialect owns its routes and all paths under `prefixes`: it writes their errors, and `not_found` ends the text
    for one without a route. `documentation` has the OpenAPI path items of its routes.
    """

    find: Callable[[str], PredictionPath | None]
    routes: tuple[DialectRoute, ...] = ()
    write_error: ErrorWriter = error_response
    prefixes: tuple[str, ...] = ()
    not_found: str | None = None
    documentation: Mapping[str, Any] = field(default_factory=dict)

    def owns(self, path: str) -> bool:
        """Return True for a path whose errors this dialect writes; `path` may be a route's template."""
        return self.find(path) is not None or any(
            path == prefix or path.startswith(f"{prefix}/") for prefix in self.prefixes
        )


def find_model_path(path: str, root: str, verb: str) -> PredictionPath | None:
    """Match `ROOT/{model}/VERB` and `ROOT/{model}/versions/{version}/VERB`; return None for other paths."""
    if not (path.startswith(f"{root}/") and path.endswith(f"/{verb}")) or "%" in path or "?" in path:
        return None
    match path[len(root) + 1 : -len(verb) - 1].split("/"):
        case [model] if model:
            return PredictionPath(f"{root}/{{model}}/{verb}", model)
        case [model, "versions", version] if model and version:
            return PredictionPath(f"{root}/{{model}}/versions/{{version}}/{verb}", model, version)
    return None


def with_version(response: HttpResponse, version: str | None) -> HttpResponse:
    """Add the header that names the version that answered."""
    if version is not None:
        response.headers.append((b"x-model-version", version.encode("latin-1")))
    return response


def reply_response(reply: Reply) -> HttpResponse:
    """Return the response that business logic created; it is the same in every dialect."""
    return whole_response(orjson.dumps(reply.content), reply.status)
