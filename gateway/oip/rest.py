"""The protocol's routes under /v2.

    POST /v2/models/{model}/infer ─▶ InferEndpoint ─▶ json_codec ─▶ InferenceRunner ─▶ json_codec
    the other routes              ─▶ router        ─▶ ModelRepository

Inference does not use the web framework.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.examples import OIP
from gateway.http.body import OCTETS
from gateway.http.context import RequestContext, context_of, header
from gateway.http.deadline import DEADLINE_HEADER, CancelScope, disconnect_of, watching
from gateway.http.responses import HttpResponse, json_response, send_response, whole_response
from gateway.oip.compression import deflated, read_inflated
from gateway.oip.infer_messages import InferRequest, InferResponse
from gateway.oip.inference import InferenceRunner
from gateway.oip.json_codec import (
    LENGTH_HEADER,
    parameters_of,
    read_request,
    write_response,
)
from gateway.oip.repository import ModelRepository, server_metadata
from gateway.oip.rest_extensions import content_of, memory_of
from gateway.oip.rest_extensions import router as extensions_router
from gateway.oip.shared_memory import RequestMemory
from gateway.oip.triton_words import in_tritons_words
from gateway.openapi import oip_responses, optional_body
from gateway.served_models import ServedVersion
from gateway.services import Services, services_of


@dataclass(frozen=True, slots=True)
class InferEndpoint:
    """Answers one inference route; `route` is the template of its path."""

    route: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or raise the RequestError that the middleware answers with."""
        context = context_of(scope)
        context.route = self.route
        await send_response(send, await self._answer(services_of(scope), context, scope, receive))

    async def _answer(
        self, services: Services, context: RequestContext, scope: Scope, receive: Receive
    ) -> HttpResponse:
        runner: InferenceRunner = scope["state"]["inference"]
        disconnect = disconnect_of(scope)
        context.deadline = context.started + services.deadlines.seconds(header(scope["headers"], DEADLINE_HEADER))
        with CancelScope(context.deadline, disconnect, context.started) as limit:
            memory = memory_of(scope)
            version, request = await self._read(services, context, scope, receive, memory)
            own = request.timeout_s()
            if own is not None:
                context.deadline = min(context.deadline, asyncio.get_running_loop().time() + own)
                limit.move(context.deadline)
            with watching(scope, receive, disconnect):
                write = partial(_response, request=request)
                response = await runner.infer(version, request, context, memory, write)
                return await deflated(response, header(scope["headers"], b"accept-encoding"))

    async def _read(
        self, services: Services, context: RequestContext, scope: Scope, receive: Receive, memory: RequestMemory
    ) -> tuple[ServedVersion, InferRequest]:
        """Return the version that answers and the request."""
        path = scope["path_params"]
        with in_tritons_words():
            version = await services.catalog.find(path["model"], path.get("version"))
        context.model = version.model
        services.admission.check(version.model, context.deadline)
        body = await read_inflated(scope, receive, services.budget)
        length = header(scope["headers"], LENGTH_HEADER)
        request = read_request(body, length, version.model, path.get("version"), memory)
        return version, request


def _response(response: InferResponse, request: InferRequest) -> HttpResponse:
    body, length = write_response(response, request)
    headers = [(b"x-model-version", response.version.encode("latin-1"))]
    if length is None:
        return whole_response(body, headers=headers)
    return whole_response(body, content_type=OCTETS, headers=[*headers, (LENGTH_HEADER, b"%d" % length)])


def _repository(request: Request) -> ModelRepository:
    repository: ModelRepository = request.scope["state"]["repository"]
    return repository


Repository = Annotated[ModelRepository, Depends(_repository)]

router = APIRouter(prefix="/v2", tags=["open inference protocol"])
router.include_router(extensions_router)


@router.get("/", include_in_schema=False)
@router.get("", responses=oip_responses(OIP["server"]))
async def get_server_metadata(request: Request) -> Response:
    """Return name, version and extensions of this server."""
    shared_memory = request.scope["state"]["memory"] is not None
    return json_response(server_metadata(request.app.version, shared_memory=shared_memory))


@router.get("/health/live", responses=oip_responses({"live": True}))
async def server_live() -> Response:
    """Answer that the gateway itself runs; the engine is not checked."""
    return json_response({"live": True})


@router.get("/health/ready", responses=oip_responses({"ready": True}, 503))
async def server_ready(repository: Repository) -> Response:
    """Answer 200 when every model that delivery recorded or a short route names has a worker; 503 names the others."""
    missing = await repository.missing()
    if missing:
        return json_response({"ready": False, "error": "not ready: " + "; ".join(missing)}, 503)
    return json_response({"ready": True})


@router.get("/models/stats", responses=oip_responses(OIP["stats"], 503))
async def all_statistics(repository: Repository) -> Response:
    """Return counts of inferences over this protocol since the gateway started, for every model."""
    return json_response({"model_stats": await repository.statistics(None, None)})


async def model_metadata(repository: ModelRepository, model: str, version: str | None) -> Response:
    """Return a model's versions and its tensors, from which a client builds a request."""
    return json_response(await repository.metadata(model, version))


async def model_ready(repository: ModelRepository, model: str, version: str | None) -> Response:
    """Answer 200 when the model has a worker, else 503."""
    if await repository.is_ready(model, version):
        return json_response({"name": model, "ready": True})
    return json_response({"name": model, "ready": False, "error": f"model {model} has no worker"}, 503)


async def model_config(repository: ModelRepository, model: str, version: str | None) -> Response:
    """Return the model's configuration as clients of Triton read it, with labels and field names in its parameters."""
    return json_response(await repository.config(model, version))


async def model_statistics(repository: ModelRepository, model: str, version: str | None) -> Response:
    """Return counts of inferences over this protocol since the gateway started."""
    return json_response({"model_stats": await repository.statistics(model, version)})


def _add_model_route(
    suffix: str, answer: Callable[[ModelRepository, str, str | None], Awaitable[Response]], sample: Any
) -> None:
    """Add a route about a model, and the same route about one of its versions."""

    async def of_default(repository: Repository, model: str) -> Response:
        return await answer(repository, model, None)

    async def of_version(repository: Repository, model: str, version: str) -> Response:
        return await answer(repository, model, version)

    for path, endpoint in (("/models/{model}", of_default), ("/models/{model}/versions/{version}", of_version)):
        router.add_api_route(
            path + suffix,
            endpoint,
            name=getattr(answer, "__name__", None),
            description=answer.__doc__,
            responses=oip_responses(sample, 404, 503),
        )


_add_model_route("", model_metadata, OIP["model"])
_add_model_route("/ready", model_ready, OIP["ready"])
_add_model_route("/config", model_config, OIP["config"])
_add_model_route("/stats", model_statistics, OIP["stats"])


@router.post(
    "/repository/index", responses=oip_responses(OIP["index"], 400, 503), openapi_extra=optional_body({"ready": True})
)
async def repository_index(repository: Repository, request: Request) -> Response:
    """Return every registered version and, where models may be loaded, the models that could be."""
    ready_only = (await content_of(request)).get("ready") is True
    return json_response(await repository.index(ready_only=ready_only))


@router.post(
    "/repository/models/{model}/load",
    responses=oip_responses(OIP["loaded"], 400, 403, 404, 503),
    openapi_extra=optional_body({"parameters": {}}),
)
async def load_model(repository: Repository, model: str, request: Request) -> Response:
    """Roll out the model's archive; it serves when the response arrives. Needs gateway.repository_control=true."""
    await repository.load(model, parameters_of(await content_of(request)))
    return json_response({"name": model, "state": "READY"})


@router.post(
    "/repository/models/{model}/unload",
    responses=oip_responses(OIP["unloaded"], 400, 403, 404, 503),
    openapi_extra=optional_body({"parameters": {}}),
)
async def unload_model(repository: Repository, model: str, request: Request) -> Response:
    """Remove the model after its waiting requests are answered. Needs gateway.repository_control=true."""
    await repository.unload(model, parameters_of(await content_of(request)))
    return json_response({"name": model, "state": "UNAVAILABLE"})
