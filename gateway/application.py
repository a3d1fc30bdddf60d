"""Builds the gateway's application from its settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.aliases import RESPONSE_FORMS
from gateway.edge import Edge
from gateway.endpoints import PredictionEndpoint
from gateway.forms import FORMS, any_form
from gateway.framework_errors import http_error, validation_error
from gateway.hooks import Business
from gateway.metrics import Metrics
from gateway.oip import rest
from gateway.oip.context import Oip, RepositoryControl
from gateway.oip.grpc_server import grpc_server
from gateway.oip.infer_endpoint import INFER_ROUTES, InferEndpoint
from gateway.oip.statistics import Statistics
from gateway.openapi import document
from gateway.routes import docs, health, home, models
from gateway.services import open_services
from settings.schema import Gateway, Settings

VERSION = "0.1.0"
_NO_LOGIC = Business()


def create_app(settings: Settings, business: Business = _NO_LOGIC, control: RepositoryControl | None = None) -> FastAPI:
    """The gateway as an ASGI application. It connects to the engine while it runs, and starts without it, too.

    `control` loads and unloads models for clients of the Open Inference Protocol; without it nobody can.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with open_services(settings, business, metrics) as services:
            oip = Oip(services, Statistics(), control)
            async with grpc_server(oip, VERSION):
                yield {"services": services, "oip": oip}

    app = FastAPI(
        title="Marina",
        version=VERSION,
        description="PyTorch models and reinforcement-learning policies behind one HTTP interface.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's own pages fetch their scripts from the internet; ours is gateway.swagger
        redoc_url=None,
        redirect_slashes=False,  # `/predict` and `/predict/` are two routes
        middleware=[Middleware(Edge, metrics=metrics, access_log=settings.gateway.access_log)],
        exception_handlers={HTTPException: http_error, RequestValidationError: validation_error},
    )
    app.router.routes.extend(_prediction_routes(settings.gateway))
    for room in (home, docs, health, models, rest):
        app.include_router(room.router)
    _document(app, settings.gateway)
    return app


def _prediction_routes(gateway: Gateway) -> list[Route]:
    general = ("/models/{model}/predict", "/models/{model}/versions/{version}/predict")
    endpoints = [PredictionEndpoint(path, any_form) for path in general]
    endpoints += [
        PredictionEndpoint(alias.path, FORMS[alias.request], alias.model, RESPONSE_FORMS[alias.response])
        for alias in gateway.aliases
    ]
    served: dict[str, ASGIApp] = {endpoint.route: endpoint for endpoint in endpoints}
    served |= {route: InferEndpoint(route) for route in INFER_ROUTES}
    return [Route(route, endpoint, methods=["POST"], name=route) for route, endpoint in served.items()]


def _document(app: FastAPI, gateway: Gateway) -> None:
    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app, gateway)
        return app.openapi_schema

    # FastAPI documents this replacement of a method as the way to extend the document.
    app.__dict__["openapi"] = openapi
