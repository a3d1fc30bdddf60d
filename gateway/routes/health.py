"""Liveness, readiness and metrics, for orchestrators and monitoring."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from errors import NoWorker
from gateway.http.responses import json_response
from gateway.metrics import model_metrics
from gateway.openapi import responses
from gateway.services import ServicesDep, missing_models

router = APIRouter(tags=["operation"])

_METRICS = {"content": {"text/plain": {"example": "marina_gateway_requests_in_flight 0.0\n"}}}


@router.get("/healthz", responses=responses({"status": "alive"}))
async def liveness() -> Response:
    """The gateway itself runs; says nothing about the engine."""
    return json_response({"status": "alive"})


@router.get("/readyz", responses=responses({"status": "ready"}, 503))
async def readiness(services: ServicesDep) -> Response:
    """Every model that a short route or default names has a worker; 503 names what is not ready."""
    missing = await missing_models(services)
    if missing:
        raise NoWorker("not ready: " + "; ".join(missing))
    return json_response({"status": "ready"})


@router.get("/metrics", responses={200: _METRICS}, response_class=Response)
async def metrics(services: ServicesDep) -> Response:
    """Prometheus metrics, with latency histograms; of models as the gateway last saw them in the engine."""
    models = model_metrics(*services.catalog.glance())
    return Response(services.metrics.text() + models, media_type=CONTENT_TYPE_LATEST)
