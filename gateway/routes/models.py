"""Which models there are."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from errors import UnknownModel
from gateway.catalog import ServedModel
from gateway.documented import MODEL_EXAMPLE, answers
from gateway.http.responses import json_response
from gateway.services import ServicesDep

router = APIRouter(tags=["models"])


@router.get("/models", responses=answers({"models": [MODEL_EXAMPLE]}, 503))
async def list_models(services: ServicesDep) -> Response:
    """All models: versions, workers, queue, labels, input schema, batch settings."""
    snapshot = await services.catalog.current()
    breakers = services.metrics.breakers()
    return json_response({"models": [_shown(model, breakers) for _, model in sorted(snapshot.models.items())]})


@router.get("/models/{model}", responses=answers(MODEL_EXAMPLE, 404, 503))
async def describe_model(model: str, services: ServicesDep) -> Response:
    """One model, as in the list of all."""
    found = (await services.catalog.current()).models.get(model)
    if found is None:
        raise UnknownModel(f"no model {model[:200]} is registered")
    return json_response(_shown(found, services.metrics.breakers()))


def _shown(model: ServedModel, breakers: Mapping[str, str]) -> dict[str, Any]:
    return model.public() | {"breaker": breakers.get(model.name, "closed")}
