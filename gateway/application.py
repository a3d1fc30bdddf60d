"""Builds the gateway's application from its settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from gateway.aliases import RESPONSE_FORMS
from gateway.edge import Edge
from gateway.endpoints import PredictionEndpoint
from gateway.forms import FORMS, any_form
from gateway.framework_errors import http_error, validation_error
from gateway.hooks import Business
from gateway.metrics import Metrics
from gateway.openapi import document
from gateway.routes import health, home, models
from gateway.services import open_services
from settings.schema import Gateway, Settings

_NO_LOGIC = Business()


def create_app(settings: Settings, business: Business = _NO_LOGIC) -> FastAPI:
    """The gateway as an ASGI application. It connects to the engine while it runs, and starts without it, too."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with open_services(settings, business, metrics) as services:
            yield {"services": services}

    app = FastAPI(
        title="Marina",
        description="PyTorch models and reinforcement-learning policies behind one HTTP interface.",
        lifespan=lifespan,
        redirect_slashes=False,  # `/predict` and `/predict/` are two routes
        middleware=[Middleware(Edge, metrics=metrics, access_log=settings.gateway.access_log)],
        exception_handlers={HTTPException: http_error, RequestValidationError: validation_error},
    )
    for room in (home, health, models):
        app.include_router(room.router)
    app.router.routes.extend(_prediction_routes(settings.gateway))
    _document(app, settings.gateway)
    return app


def _prediction_routes(gateway: Gateway) -> list[Route]:
    general = ("/models/{model}/predict", "/models/{model}/versions/{version}/predict")
    endpoints = [PredictionEndpoint(path, any_form) for path in general]
    endpoints += [
        PredictionEndpoint(alias.path, FORMS[alias.request], alias.model, RESPONSE_FORMS[alias.response])
        for alias in gateway.aliases
    ]
    return [Route(endpoint.route, endpoint, methods=["POST"], name=endpoint.route) for endpoint in endpoints]


def _document(app: FastAPI, gateway: Gateway) -> None:
    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app, gateway)
        return app.openapi_schema

    # FastAPI documents this replacement of a method as the way to extend the document.
    app.__dict__["openapi"] = openapi
