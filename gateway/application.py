"""Builds the gateway's application from its settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from commands import VERSION
from gateway.apikey import ApiKeyMiddleware, ApiKeys
from gateway.console.state import Console
from gateway.dialects.short_routes import RESPONSE_FORMS
from gateway.hooks import Business
from gateway.http.context import context_of
from gateway.http.payload import FORMS, any_form
from gateway.http.responses import problem
from gateway.metrics import Metrics
from gateway.middleware import Edge
from gateway.oip import rest
from gateway.oip.grpc_server import grpc_server
from gateway.oip.infer_statistics import InferStatistics
from gateway.oip.inference import InferenceRunner
from gateway.oip.json_codec import is_protocol_path, unknown_call
from gateway.oip.repository import ModelRepository, RepositoryControl
from gateway.openapi import document
from gateway.predict import HeadAsGet, PredictionEndpoint, PredictionRouter, endpoint_of
from gateway.process_slots import ProcessSlot
from gateway.routes import console, docs, health, home, models
from gateway.security import KnownSites, LoopbackMiddleware, Preflight, Sites, origins_for
from gateway.services import open_services
from gateway.tracing import Tracer, tracer_for
from settings.schema import Alias, GatewaySettings, Settings

GENERAL = ("/models/{model}/predict", "/models/{model}/versions/{version}/predict")

_NO_LOGIC = Business()


def create_app(
    settings: Settings,
    business: Business = _NO_LOGIC,
    tracer: Tracer | None = None,
    control: RepositoryControl | None = None,
    siblings: ProcessSlot | None = None,
) -> ASGIApp:
    """The gateway as an ASGI application. It connects to the engine while it runs, and starts without it, too.

    `control` loads and unloads models for clients of the Open Inference Protocol; without it nobody can. `siblings`
    are the other processes of the same gateway.
    """
    metrics = Metrics(siblings)
    tracer = tracer or tracer_for(settings.gateway.tracing)
    statistics = InferStatistics(metrics)
    keys = _keys(settings.gateway, siblings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with open_services(settings, business, metrics, tracer, keys, siblings) as services:
            runner = InferenceRunner(services, statistics)
            repository = ModelRepository(services, statistics, control)
            async with grpc_server(services, runner, repository, keys, tracer, VERSION):
                yield {
                    "services": services,
                    "inference": runner,
                    "repository": repository,
                    "console": Console(services),
                }

    default, versioned = (PredictionEndpoint(path, any_form) for path in GENERAL)
    short = {alias.path: _short(alias) for alias in settings.gateway.aliases}
    layers = [
        Middleware(
            Edge,
            metrics=metrics,
            tracer=tracer,
            origins=origins_for(settings.gateway.security.cors_origins),
            access_log=settings.gateway.access_log,
        ),
        *_guards(settings.gateway, keys),
    ]
    app = FastAPI(
        title="Marina",
        version=VERSION,
        description="PyTorch models and reinforcement-learning policies behind one HTTP interface.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages fetch their scripts from the internet; ours is gateway.swagger
        redoc_url=None,
        redirect_slashes=False,  # `/predict` and `/predict/` are two routes
        middleware=[*layers, Middleware(HeadAsGet)],
        exception_handlers={HTTPException: http_error, RequestValidationError: validation_error},
    )
    endpoints = (default, versioned, *short.values())
    # The router meets the predictions only with another method than POST, and says so.
    app.router.routes.extend(Route(each.route, each, methods=["POST"], name=each.route) for each in endpoints)
    app.router.routes.extend(
        Route(each, rest.InferEndpoint(each), methods=["POST"], name=each) for each in rest.INFER_ROUTES
    )
    for room in (home, console, docs, health, models, rest):
        app.include_router(room.router)
    _document(app, settings.gateway)
    hot: ASGIApp = endpoint_of
    for layer in reversed(layers):
        hot = layer.cls(hot, *layer.args, **layer.kwargs)
    return PredictionRouter(app, hot, short, default, versioned)


def _short(alias: Alias) -> PredictionEndpoint:
    return PredictionEndpoint(alias.path, FORMS[alias.request], alias.model, RESPONSE_FORMS[alias.response])


def _keys(gateway: GatewaySettings, siblings: ProcessSlot | None) -> ApiKeys | None:
    """The API keys, counted together whichever way a request comes."""
    if not gateway.security.api_keys:
        return None
    return ApiKeys(gateway.security.api_keys, None if siblings is None else siblings.folder)


def _guards(gateway: GatewaySettings, keys: ApiKeys | None) -> list[Middleware]:
    """Who may ask at all; outermost first."""
    security = gateway.security
    guards = [] if gateway.insecure or keys else [Middleware(LoopbackMiddleware)]
    if keys is None:
        guards.append(Middleware(KnownSites, sites=Sites(gateway)))
    if security.cors_origins:
        guards.append(Middleware(Preflight, allowed=security.cors_origins))
    if keys is not None:
        guards.append(Middleware(ApiKeyMiddleware, keys=keys))
    return guards


def _document(app: FastAPI, gateway: GatewaySettings) -> None:
    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app, gateway)
        return app.openapi_schema

    # FastAPI documents this replacement of a method as the way to extend the document.
    app.__dict__["openapi"] = openapi


async def http_error(request: Request, error: Exception) -> Response:
    """No such route, or not with this method."""
    assert isinstance(error, HTTPException)
    request_id, path = context_of(request.scope).request_id, request.scope["path"]
    if is_protocol_path(path):
        return unknown_call(path, error.status_code, str(error.detail), request_id, error.headers)
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return problem(error.status_code, code, str(error.detail), request_id, error.headers)


async def validation_error(request: Request, error: Exception) -> Response:
    """Parameters of a route that the framework itself checks; their values are not repeated."""
    assert isinstance(error, RequestValidationError)
    found = "; ".join(f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors())
    return problem(422, "invalid_fields", found, context_of(request.scope).request_id)
