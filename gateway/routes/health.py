"""Liveness, readiness and metrics: what orchestrators and monitoring ask."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from errors import NoWorker
from gateway.documented import answers
from gateway.http.responses import json_response
from gateway.metrics import model_metrics
from gateway.services import ServicesDep, missing_models

router = APIRouter(tags=["operation"])


@router.get("/healthz", responses=answers({"status": "alive"}))
async def liveness() -> Response:
    """The gateway itself runs; says nothing about the engine."""
    return json_response({"status": "alive"})


@router.get("/readyz", responses=answers({"status": "ready"}, 503))
async def readiness(services: ServicesDep) -> Response:
    """Every model that a short route or default names has a worker; 503 names what is not ready."""
    lacking = await missing_models(services)
    if lacking:
        raise NoWorker("not ready: " + "; ".join(lacking))
    return json_response({"status": "ready"})


_SAMPLE = "marina_gateway_requests_in_flight 0.0\n"


@router.get("/metrics", responses={200: {"content": {"text/plain": {"example": _SAMPLE}}}}, response_class=Response)
async def metrics(services: ServicesDep) -> Response:
    """Prometheus metrics, with latency histograms; of models as the last look at the engine found them."""
    found = model_metrics(*services.catalog.glance())
    return Response(services.metrics.text() + found, media_type=CONTENT_TYPE_LATEST)
