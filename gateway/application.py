"""Builds the gateway's application from its settings.

    RequestMiddleware ──▶ PredictionRouter ──┬──▶ PredictionEndpoint, InferEndpoint
                                             └──▶ web framework: console, documentation, models, health, metrics, /v2

The web framework is FastAPI; predictions bypass its layers.
"""

from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp

from commands import VERSION
from errors import InvalidFields, RequestError
from gateway.apikey import ApiKeys
from gateway.console import page_files, stats
from gateway.dialects import open_inference
from gateway.dialects.registry import Dialects, dialects_for
from gateway.hooks import Business
from gateway.http.body import BodyBudget
from gateway.http.connection import ConnectionServices
from gateway.http.responses import CommonHeaders
from gateway.metrics import Metrics
from gateway.middleware import RequestCheck, RequestMiddleware, RequestRecorder
from gateway.oip import rest
from gateway.oip.grpc_server import grpc_server
from gateway.oip.infer_statistics import InferStatistics
from gateway.oip.inference import InferenceRunner
from gateway.oip.repository import ModelRepository, RepositoryControl
from gateway.oip.shared_memory import RegionRegistry
from gateway.openapi import document, operation_id
from gateway.predict import HeadAsGet, PredictionEndpoint, PredictionRouter
from gateway.process_slots import ProcessSlot
from gateway.routes import docs, health, models, other_servers
from gateway.security import KnownHosts, Preflight, loopback_only
from gateway.services import Services, Shared, open_services
from gateway.shutdown import Shutdown
from gateway.tracing import Tracer, tracer_for
from settings.schema import GatewaySettings, Settings

_NO_LOGIC = Business()
_METHODS = ("GET", "POST", "PUT", "OPTIONS")  # those of the gateway's routes


def create_app(
    settings: Settings,
    business: Business = _NO_LOGIC,
    tracer: Tracer | None = None,
    control: RepositoryControl | None = None,
    slot: ProcessSlot | None = None,
    shutdown: Shutdown | None = None,
) -> ASGIApp:
    """Return the gateway as an ASGI application. It connects to the engine while it runs, which may start later.

    `control` loads and unloads models for clients of the Open Inference Protocol; without it they cannot. `slot` is
    this process's among the processes of the same gateway. `shutdown` tells the caller of requests that were cut off.
    """
    shared = _shared(settings, business, tracer, slot, shutdown or Shutdown())
    app = FastAPI(
        title="Marina",
        version=VERSION,
        description="PyTorch models and reinforcement-learning policies behind one HTTP interface.",
        lifespan=_lifespan(shared, control),
        docs_url=None,  # FastAPI's own pages load scripts from the internet; gateway.routes.docs serves them locally
        redoc_url=None,
        generate_unique_id_function=operation_id,
        redirect_slashes=False,  # `/predict` and `/predict/` are two routes
        exception_handlers={
            HTTPException: partial(_http_error, shared.dialects),
            RequestValidationError: _validation_error,
            Exception: _pass_on,
        },
    )
    endpoints = _endpoints(shared.dialects)
    # The framework's router sees a prediction path only for other methods.
    for path in dict.fromkeys(path for of_method in endpoints.values() for path in of_method):
        of_path = {method: of_method[path] for method, of_method in endpoints.items() if path in of_method}
        app.router.routes.append(Route(path, next(iter(of_path.values())), methods=list(of_path), name=path))
    for room in (stats, page_files, docs, health, models, rest):
        app.include_router(room.router)
    app.include_router(other_servers.router_for(settings.gateway.dialects))
    _document(app, settings.gateway, shared.dialects)
    router = PredictionRouter(HeadAsGet(app), shared.dialects, endpoints)
    checks = _checks(settings.gateway, shared.keys)
    return RequestMiddleware(router, shared.recorder, shared.dialects, shared.common, shared.shutdown, checks)


def _shared(
    settings: Settings, business: Business, tracer: Tracer | None, slot: ProcessSlot | None, shutdown: Shutdown
) -> Shared:
    gateway, security = settings.gateway, settings.gateway.security
    metrics = Metrics(slot)
    tracer = tracer or tracer_for(gateway.tracing)
    budget = BodyBudget(gateway.max_body_bytes, gateway.max_receiving_bytes)
    recorder = RequestRecorder(metrics, tracer, budget, access_log=gateway.access_log)
    keys = _keys(gateway, slot)
    common, dialects = CommonHeaders(security.cors_origins), dialects_for(gateway)
    return Shared(settings, business, dialects, metrics, tracer, recorder, budget, common, shutdown, keys, slot)


def _keys(gateway: GatewaySettings, slot: ProcessSlot | None) -> ApiKeys | None:
    if not gateway.security.api_keys:
        return None
    probes = other_servers.probes(gateway.dialects)
    return ApiKeys(gateway.security.api_keys, None if slot is None else slot.folder, probes)


def _lifespan(shared: Shared, control: RepositoryControl | None) -> Any:
    statistics = InferStatistics(shared.metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with open_services(shared) as services:
            runner = InferenceRunner(services, statistics)
            repository = ModelRepository(services, statistics, control)
            regions = _regions(shared)
            async with grpc_server(services, runner, repository, regions, shared.keys, VERSION):
                yield {
                    "connection": _connection_services(shared, services),
                    "services": services,
                    "inference": runner,
                    "repository": repository,
                    "memory": regions,
                    "statistics": statistics,
                    "console": stats.ConsoleStats(services),
                }

    return lifespan


def _regions(shared: Shared) -> RegionRegistry | None:
    """Return the registry of shared memory, one for all processes of this gateway; None where it is off."""
    if not shared.settings.gateway.shared_memory:
        return None
    return RegionRegistry(None if shared.slot is None else shared.slot.folder)


def _connection_services(shared: Shared, services: Services) -> ConnectionServices:
    return ConnectionServices(
        shared.settings.gateway, shared.shutdown, shared.common, services.fast_path, services.early_refusal
    )


def _endpoints(dialects: Dialects) -> dict[str, dict[str, ASGIApp]]:
    """Return the endpoints of all prediction routes by method and template of their path."""
    endpoints: dict[str, dict[str, ASGIApp]] = {
        "POST": {path: rest.InferEndpoint(path) for path in open_inference.TEMPLATES},
        "PUT": {},
    }
    for path, route in dialects.routes.items():
        for method in route.methods:
            endpoints[method][path] = PredictionEndpoint(route)
    return endpoints


def _checks(gateway: GatewaySettings, keys: ApiKeys | None) -> list[RequestCheck]:
    """Return the configured checks of each request, in their order."""
    security = gateway.security
    checks: list[RequestCheck] = [] if gateway.insecure or keys else [loopback_only]
    if keys is None:
        checks.append(KnownHosts(gateway).check)
    if security.cors_origins:
        checks.append(Preflight(security.cors_origins).check)
    if keys is not None:
        checks.append(keys.check)
    return checks


async def _http_error(dialects: Dialects, request: Request, error: Exception) -> Response:
    """Convert the framework's error for an unknown route or method into one that the middleware answers."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        error.headers = {"Allow": _allowed(request)}
    raise _request_error(error, dialects.not_found(request.scope["path"])) from None


def _allowed(request: Request) -> str:
    """Return the methods of all routes of the path; the framework names only those of the first."""
    return ", ".join(method for method in _METHODS if _answers({**request.scope, "method": method}))


def _answers(scope: MutableMapping[str, Any]) -> bool:
    app: FastAPI = scope["app"]
    return any(route.matches(scope)[0] == Match.FULL for route in app.routes)


def _request_error(error: HTTPException, not_found: str | None) -> RequestError:
    detail = not_found if error.status_code == 404 and not_found is not None else str(error.detail)
    found = RequestError(detail, headers={name.lower(): value for name, value in (error.headers or {}).items()})
    found.status, found.code = error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return found


async def _validation_error(_: Request, error: Exception) -> Response:
    """Convert the framework's validation error into InvalidFields, without the values of the parameters."""
    assert isinstance(error, RequestValidationError)
    found = "; ".join(f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors())
    raise InvalidFields(found)


async def _pass_on(_: Request, error: Exception) -> Response:
    """Raise any other error again, so that the middleware answers it and not the framework."""
    try:
        raise error
    finally:
        del error  # break the cycle of error, traceback and frame, which only the garbage collector would free


def _document(app: FastAPI, gateway: GatewaySettings, dialects: Dialects) -> None:
    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app, gateway, dialects.documentation)
        return app.openapi_schema

    # FastAPI documents this replacement of a method as the way to extend the document.
    app.__dict__["openapi"] = openapi
