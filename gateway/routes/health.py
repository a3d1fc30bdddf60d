"""Liveness, readiness and metrics, for orchestrators and monitoring.

`missing_models` decides whether the gateway is ready, here and in the Open Inference Protocol.
"""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from errors import NoWorker
from gateway.catalog import ServedVersion, Snapshot
from gateway.http.responses import json_response
from gateway.metrics import model_metrics
from gateway.openapi import responses
from gateway.services import Services, ServicesDep
from settings.schema import GatewaySettings

router = APIRouter(tags=["operation"])

_METRICS = {"content": {"text/plain": {"example": "marina_gateway_requests_in_flight 0.0\n"}}}


@router.get("/healthz", responses=responses({"status": "alive"}))
async def liveness() -> Response:
    """Answer that the gateway itself runs; the engine is not checked."""
    return json_response({"status": "alive"})


@router.get("/readyz", responses=responses({"status": "ready"}, 503))
async def readiness(services: ServicesDep) -> Response:
    """Answer 200 when every model that a short route or default names has a worker; 503 names what is not ready."""
    missing = await missing_models(services)
    if missing:
        raise NoWorker("not ready: " + "; ".join(missing))
    return json_response({"status": "ready"})


@router.get("/metrics", responses={200: _METRICS}, response_class=Response)
async def metrics(services: ServicesDep) -> Response:
    """Return Prometheus metrics, with latency histograms; figures of models are those of the gateway's last survey."""
    models = model_metrics(*services.catalog.glance())
    return Response(services.metrics.text() + models, media_type=CONTENT_TYPE_LATEST)


async def missing_models(services: Services) -> list[str]:
    """Return the reasons why the gateway is not ready, one phrase each; empty when it is ready.

    A gateway that shuts down is never ready, so that load balancers use other gateways in time.
    """
    if services.shutdown.requested:
        return ["the gateway is about to stop"]
    try:
        snapshot = await services.catalog.fresh()
    except NoWorker:
        return ["the engine does not answer"]
    return [words for name in promised_models(services.settings.gateway) if (words := _missing(snapshot, name))]


def has_worker(services: Services, found: ServedVersion) -> bool:
    """Return True when a version of a model is ready."""
    return found.workers_ready > 0 and not services.shutdown.requested


def promised_models(gateway: GatewaySettings) -> list[str]:
    """Return the models that short routes or defaults name, each once."""
    names = [gateway.default_vision_model, gateway.default_policy, *(alias.model for alias in gateway.aliases)]
    return list(dict.fromkeys(names))


def _missing(snapshot: Snapshot, name: str) -> str:
    found = snapshot.find(name, None)
    if found is None:
        return f"model {name} is not registered"
    return "" if found.workers_ready else f"model {name} has no worker"
