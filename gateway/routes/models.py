"""The models that the engine serves."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from gateway.examples import MODEL
from gateway.http.responses import json_response
from gateway.openapi import responses
from gateway.served_models import ServedModel
from gateway.services import ServicesDep

router = APIRouter(tags=["models"])


@router.get("/models", responses=responses({"models": [MODEL]}, 503))
async def list_models(services: ServicesDep) -> Response:
    """Return all models: versions, workers, queue, labels, input schema, batch settings."""
    snapshot = await services.catalog.current()
    breakers = services.metrics.breakers()
    return json_response({"models": [_entry(model, breakers) for _, model in sorted(snapshot.models.items())]})


@router.get("/models/{model}", responses=responses(MODEL, 404, 503))
async def describe_model(model: str, services: ServicesDep) -> Response:
    """Return one model, as in the list of all models."""
    return json_response(_entry(await services.catalog.describe(model), services.metrics.breakers()))


def _entry(model: ServedModel, breakers: Mapping[str, str]) -> dict[str, Any]:
    return model.public() | {"breaker": breakers.get(model.name, "closed")}
