"""Liveness, readiness and metrics, for orchestrators and monitoring.

`missing_models` decides whether the gateway is ready, here and in the Open Inference Protocol.
"""

from typing import Literal

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from errors import NoWorker
from gateway.catalog import Catalog
from gateway.http.responses import json_response
from gateway.metrics import model_metrics, pending_requests
from gateway.openapi import responses
from gateway.served_models import ServedVersion, Snapshot
from gateway.services import Services, ServicesDep
from settings.schema import GatewaySettings

router = APIRouter(tags=["operation"])

# The wait for a survey. A probe's own time limit, often a second, must not decide.
FRESH_S = 0.6

_METRICS = {"content": {"text/plain": {"example": "marina_gateway_requests_in_flight 0.0\n"}}}


@router.get("/healthz", responses=responses({"status": "alive"}))
async def liveness() -> Response:
    """Answer that the gateway itself runs; the engine is not checked."""
    return json_response({"status": "alive"})


@router.get("/readyz", responses=responses({"status": "ready"}, 503))
async def readiness(services: ServicesDep, models: str = "all") -> Response:
    """Answer 200 when every model that delivery recorded or a short route names has a worker; 503 names the others.

    With `?models=recorded`, those of short routes that were never rolled out are left out.
    """
    missing = await missing_models(services, recorded_only=models == "recorded")
    if missing:
        # Without Retry-After: a probe has its own interval, and is answered at once however often it comes.
        raise NoWorker("not ready: " + "; ".join(missing), headers={})
    return json_response({"status": "ready"})


@router.get("/metrics", responses=responses({}, 422) | {200: _METRICS}, response_class=Response)
async def metrics(services: ServicesDep, request: Request, names: Literal["marina", "triton"] = "marina") -> Response:
    """Return Prometheus metrics, with latency histograms; figures of models are those of the gateway's last survey.

    With `?names=triton`, inferences over the Open Inference Protocol follow under the names of Triton's metrics.
    """
    text = services.metrics.text() + model_metrics(*services.catalog.glance())
    if names == "triton":
        text += request.scope["state"]["statistics"].triton_metrics(pending_requests(*services.catalog.glance()))
    return Response(text, media_type=CONTENT_TYPE_LATEST)


async def missing_models(services: Services, *, recorded_only: bool = False) -> list[str]:
    """Return within a second the reasons why the gateway is not ready, one phrase each; empty when it is ready.

    A gateway that shuts down is never ready, so that load balancers use other gateways in time.
    """
    if services.shutdown.requested:
        return ["the gateway is about to stop"]
    try:
        snapshot = await services.catalog.soon(FRESH_S)
    except NoWorker as error:
        return [error.detail]
    promised = [] if recorded_only else promised_models(services.settings.gateway)
    names = dict.fromkeys((*promised, *services.catalog.recorded()))
    return [words for name in names if (words := _missing(services.catalog, snapshot, name))]


def has_worker(services: Services, found: ServedVersion) -> bool:
    """Return True when a version of a model is ready."""
    return found.workers_ready > 0 and not services.shutdown.requested


def promised_models(gateway: GatewaySettings) -> list[str]:
    """Return the models that short routes, dialects or defaults name, each once."""
    defaults = (gateway.default_vision_model, gateway.default_policy, gateway.dialects.model)
    names = [*defaults, *(alias.model for alias in gateway.aliases)]
    return [name for name in dict.fromkeys(names) if name is not None]


def _missing(catalog: Catalog, snapshot: Snapshot, name: str) -> str:
    found = snapshot.find(name, None)
    if found is None:
        return catalog.absent(name, None).detail if name in catalog.recorded() else f"model {name} is not registered"
    return "" if found.workers_ready else f"model {name} has no worker"
