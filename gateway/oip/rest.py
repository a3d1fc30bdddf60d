"""The protocol's routes under /v2 but for inference."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from errors import RequestError, UnknownModel, UnreadableInput
from gateway.catalog import ServedModel, ServedVersion
from gateway.http.body import read_body
from gateway.http.context import context_of
from gateway.http.responses import json_response
from gateway.oip import metadata, repository
from gateway.oip.context import Oip, oip_of
from gateway.oip.documented import PARAMETERS, READY_ONLY, SAMPLES, body_of, oip_answers
from gateway.oip.json_wire import document
from gateway.oip.replies import protocol_error
from gateway.services import has_worker, missing_models

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Answer(Protocol):
    """Answers a route about a version of a model, the default one for None."""

    __name__: str

    async def __call__(self, oip: Oip, model: str, version: str | None) -> Response:
        """The answer."""
        ...


class ProtocolRoute(APIRoute):
    """A route that tells a client what went wrong in the protocol's shape."""

    def get_route_handler(self) -> Handler:
        """FastAPI's own handler with that around it."""
        handler = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handler(request)
            except RequestError as error:
                return protocol_error(error, context_of(request.scope).request_id)

        return answered


def _oip(request: Request) -> Oip:
    return oip_of(request.scope)


OipDep = Annotated[Oip, Depends(_oip)]
router = APIRouter(prefix="/v2", tags=["open inference protocol"], route_class=ProtocolRoute)


@router.get("", responses=oip_answers(SAMPLES["server"]))
async def server_metadata(request: Request) -> Response:
    """Name, version and extensions of this server."""
    return json_response(metadata.server(request.app.version))


@router.get("/health/live", responses=oip_answers({"live": True}))
async def server_live() -> Response:
    """The gateway itself runs; says nothing about the engine."""
    return json_response({"live": True})


@router.get("/health/ready", responses=oip_answers({"ready": True}, 503))
async def server_ready(oip: OipDep) -> Response:
    """Every model that a short route or default names has a worker; 503 names what is not ready."""
    lacking = await missing_models(oip.services)
    if lacking:
        return json_response({"ready": False, "error": "not ready: " + "; ".join(lacking)}, 503)
    return json_response({"ready": True})


@router.get("/models/stats", responses=oip_answers(SAMPLES["stats"], 503))
async def all_statistics(oip: OipDep) -> Response:
    """Counts of inferences over this protocol, of every model, since the gateway started."""
    models = (await oip.services.catalog.current()).models
    return json_response({"model_stats": statistics(oip, [each for _, each in sorted(models.items())], None)})


async def model_metadata(oip: Oip, model: str, version: str | None) -> Response:
    """A model's versions and its tensors: all that a request is made of."""
    served, found = await version_of(oip, model, version)
    return json_response(metadata.model(served, found))


async def model_ready(oip: Oip, model: str, version: str | None) -> Response:
    """Whether the model has a worker; 503 when it has none."""
    _, found = await version_of(oip, model, version)
    ready = has_worker(oip.services, found)
    return json_response({"name": found.model, "ready": ready}, 200 if ready else 503)


async def model_config(oip: Oip, model: str, version: str | None) -> Response:
    """The model's configuration as clients of Triton read it, labels and field names among its parameters."""
    _, found = await version_of(oip, model, version)
    return json_response(metadata.config(found, oip.services.settings.engine.name))


async def model_statistics(oip: Oip, model: str, version: str | None) -> Response:
    """Counts of inferences over this protocol since the gateway started."""
    served, _ = await version_of(oip, model, version)
    return json_response({"model_stats": statistics(oip, [served], version)})


def _add(suffix: str, answer: Answer, sample: Any) -> None:
    """Adds a route about a model and the same about one of its versions."""

    async def of_default(oip: OipDep, model: str) -> Response:
        return await answer(oip, model, None)

    async def of_version(oip: OipDep, model: str, version: str) -> Response:
        return await answer(oip, model, version)

    for path, endpoint in (("/models/{model}", of_default), ("/models/{model}/versions/{version}", of_version)):
        router.add_api_route(
            path + suffix,
            endpoint,
            name=answer.__name__,
            description=answer.__doc__,
            responses=oip_answers(sample, 404, 503),
        )


_add("", model_metadata, SAMPLES["model"])
_add("/ready", model_ready, SAMPLES["ready"])
_add("/config", model_config, SAMPLES["config"])
_add("/stats", model_statistics, SAMPLES["stats"])


@router.post("/repository/index", responses=oip_answers(SAMPLES["index"], 400, 503), openapi_extra=body_of(READY_ONLY))
async def repository_index(oip: OipDep, request: Request) -> Response:
    """Every version that is registered; where models may be loaded, those that could be as well."""
    ready_only = (await _document(oip, request)).get("ready") is True
    return json_response(await repository.index(oip, ready_only=ready_only))


@router.post(
    "/repository/models/{model}/load",
    responses=oip_answers(SAMPLES["loaded"], 400, 403, 404, 503),
    openapi_extra=body_of(PARAMETERS),
)
async def load_model(oip: OipDep, model: str, request: Request) -> Response:
    """Rolls the model's archive out: it serves when this is answered. Needs gateway.repository_control=true."""
    await repository.load(oip, model, _parameters(await _document(oip, request)))
    return json_response({"name": model, "state": "READY"})


@router.post(
    "/repository/models/{model}/unload",
    responses=oip_answers(SAMPLES["unloaded"], 400, 403, 404, 503),
    openapi_extra=body_of(PARAMETERS),
)
async def unload_model(oip: OipDep, model: str, request: Request) -> Response:
    """Takes the model away, after what waits for it is answered. Needs gateway.repository_control=true."""
    await repository.unload(oip, model, _parameters(await _document(oip, request)))
    return json_response({"name": model, "state": "UNAVAILABLE"})


async def version_of(oip: Oip, model: str, version: str | None) -> tuple[ServedModel, ServedVersion]:
    """A model and one of its versions, the default one for None, not older than the catalog's time to live."""
    served = (await oip.services.catalog.current()).models.get(model)
    found = None if served is None else served.version(version)
    if served is None or found is None:
        named = f"version {version} of model {model}" if version else f"model {model}"
        raise UnknownModel(f"no {named[:200]} is registered")
    return served, found


def statistics(oip: Oip, models: list[ServedModel], version: str | None) -> list[dict[str, Any]]:
    """The protocol's `model_stats` of these models, of one version or of all."""
    versions = [each for model in models for each in model.versions if version in (None, each.version)]
    return oip.statistics.of((each.model, each.version) for each in versions)


async def _document(oip: Oip, request: Request) -> dict[str, Any]:
    # A body is optional here; stock clients send one, and some send none at all.
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return {}
    body = await read_body(request.scope, request.receive, oip.services.settings.gateway.max_body_bytes)
    return document(body.data)


def _parameters(content: Mapping[str, Any]) -> dict[str, Any]:
    parameters = content.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise UnreadableInput("`parameters` must be an object")
    return parameters
