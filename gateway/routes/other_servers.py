"""Health and models, on the routes where clients of other servers look for them."""

from typing import Any

from fastapi import APIRouter
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from engines.torchserve.api import PING
from errors import Forbidden, NoWorker, RateLimited, Unauthorized, UnknownModel
from gateway.dialects import kserve_v1
from gateway.http.responses import json_response
from gateway.openapi import answered, error_responses, responses
from gateway.routes.health import missing_models
from gateway.services import ServicesDep
from settings.schema import DialectSettings

_HEALTHY, _UNHEALTHY = {"status": "Healthy"}, {"status": "Unhealthy"}


class _ModelName(StringConvertor):
    """A name in a path; KServe puts the verb after a colon, which is another route."""

    regex = "[^/:]+"


register_url_convertor("model_name", _ModelName())


def probes(dialects: DialectSettings) -> frozenset[str]:
    """Return the paths of health, which need no API key because orchestrators send none."""
    found = {PING} if dialects.torchserve or dialects.sagemaker else set()
    return frozenset(found if dialects.vertex_health is None else {*found, dialects.vertex_health})


def router_for(dialects: DialectSettings) -> APIRouter:
    """Return the routes of the dialects that are on."""
    router = APIRouter()
    unhealthy = {"description": "A model has no worker", "content": {"application/json": {"example": _UNHEALTHY}}}
    tags: list[Any] = ["operation"]
    # Vertex AI may name a route that is here already; the first one answers.
    if dialects.vertex_health is not None:
        documented: dict[int | str, dict[str, Any]] = {**answered(_HEALTHY), 503: unhealthy}
        router.add_api_route(dialects.vertex_health, vertex_health, responses=documented, tags=tags)
    if dialects.torchserve or dialects.sagemaker:
        router.add_api_route(PING, ping, responses={**answered(_HEALTHY), 500: unhealthy}, tags=tags)
    if dialects.torchserve:
        router.add_api_route("/", api_description, methods=["OPTIONS"], responses=responses({"openapi": "3.1.0"}))
    if dialects.kserve_v1:
        v1 = error_responses(kserve_v1.write_error, Unauthorized, Forbidden, RateLimited, UnknownModel, NoWorker)
        ready = answered({"name": "digits", "ready": True}) | v1
        router.add_api_route(
            "/v1/models", v1_models, responses=answered({"models": ["digits"]}) | v1, tags=["kserve v1"]
        )
        router.add_api_route("/v1/models/{model:model_name}", v1_model, responses=ready, tags=["kserve v1"])
    return router


async def ping(services: ServicesDep) -> Response:
    """Answer as TorchServe and SageMaker's containers: 200 when every model has a worker, else 500."""
    return await _health(services, 500)


async def vertex_health(services: ServicesDep) -> Response:
    """Answer 200 when every model has a worker, else 503."""
    return await _health(services, 503)


async def api_description(request: Request) -> Response:
    """Return this document, as TorchServe does."""
    return json_response(request.app.openapi())


async def v1_models(services: ServicesDep) -> Response:
    """Return the names of all models."""
    return json_response({"models": sorted((await services.catalog.current()).models)})


async def v1_model(model: str, services: ServicesDep) -> Response:
    """Return {"name", "ready": true}; 503 when the model has no worker."""
    found = await services.catalog.find(model)
    if not found.workers_ready:
        raise NoWorker(f"model {model} has no worker")
    return json_response({"name": model, "ready": True})


async def _health(services: ServicesDep, otherwise: int) -> Response:
    missing = await missing_models(services)
    return json_response(_UNHEALTHY, otherwise) if missing else json_response(_HEALTHY)
