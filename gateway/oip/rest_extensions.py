"""The routes of Triton's extensions that are not about models: shared memory, trace and log settings."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from errors import UnreadableInput
from gateway.examples import OIP
from gateway.http.backoff import PROXIED
from gateway.http.context import context_of
from gateway.http.responses import json_response
from gateway.oip.compression import read_inflated
from gateway.oip.json_codec import parse_object
from gateway.oip.server_settings import log_settings, trace_settings
from gateway.oip.shared_memory import Region, RegionRegistry, RequestMemory, no_cuda
from gateway.openapi import oip_responses, optional_body
from gateway.security import is_loopback
from gateway.services import ServicesDep, services_of

router = APIRouter()


def memory_of(scope: Scope) -> RequestMemory:
    """Return the shared memory as this request may use it."""
    registry: RegionRegistry | None = scope["state"]["memory"]
    return RequestMemory(registry, _is_local(scope), services_of(scope).budget, context_of(scope))


def _is_local(scope: Scope) -> bool:
    """Return True for a client on this machine; one behind a proxy on this machine is not."""
    client = scope.get("client")
    if any(name in PROXIED for name, _ in scope["headers"]):
        return False
    return client is None or client[1] is None or is_loopback(client[0])


def _regions(request: Request) -> RegionRegistry:
    return memory_of(request.scope).regions()


Regions = Annotated[RegionRegistry, Depends(_regions)]


async def content_of(request: Request) -> dict[str, Any]:
    """Return the object in a request's body, an empty one without a body; some stock clients send none at all."""
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return {}
    return parse_object(await read_inflated(request.scope, request.receive, services_of(request.scope).budget))


@router.get("/systemsharedmemory/status", responses=oip_responses(OIP["regions"], 403))
async def shared_memory_status(regions: Regions) -> Response:
    """Return every registered region. Needs gateway.shared_memory=true."""
    return json_response(list(regions.all().values()))


@router.get("/systemsharedmemory/region/{name}/status", responses=oip_responses(OIP["regions"], 400, 403))
async def shared_memory_region_status(regions: Regions, name: str) -> Response:
    """Return one registered region. Needs gateway.shared_memory=true."""
    return json_response([regions.find(name)])


@router.post(
    "/systemsharedmemory/region/{name}/register",
    responses=oip_responses({}, 400, 403),
    openapi_extra=optional_body({"key": "/my_region", "offset": 0, "byte_size": 64}),
)
async def register_shared_memory(regions: Regions, name: str, request: Request) -> Response:
    """Register a region of a shared memory object. Needs gateway.shared_memory=true."""
    content = await content_of(request)
    key, offset, size = content.get("key"), content.get("offset", 0), content.get("byte_size")
    if not isinstance(key, str) or type(offset) is not int or type(size) is not int or offset < 0 or size < 0:
        raise UnreadableInput("`key` must be text, `offset` and `byte_size` numbers of bytes")
    regions.add(Region(name, key, offset, size))
    return json_response({})


@router.post("/systemsharedmemory/unregister", responses=oip_responses({}, 403))
async def unregister_shared_memory(regions: Regions) -> Response:
    """Forget every region. Needs gateway.shared_memory=true."""
    regions.remove(None)
    return json_response({})


@router.post("/systemsharedmemory/region/{name}/unregister", responses=oip_responses({}, 403))
async def unregister_shared_memory_region(regions: Regions, name: str) -> Response:
    """Forget one region. Needs gateway.shared_memory=true."""
    regions.remove(name)
    return json_response({})


@router.get("/cudasharedmemory/status", responses=oip_responses([]))
async def cuda_memory_status() -> Response:
    """Return no region, because none can be registered."""
    return json_response([])


@router.post("/cudasharedmemory/region/{name}/register", responses=oip_responses({}, 501))
async def register_cuda_memory(name: str) -> Response:
    """Refuse to register a region of a GPU's memory."""
    raise no_cuda(name)


@router.post("/cudasharedmemory/unregister", responses=oip_responses({}))
async def unregister_cuda_memory() -> Response:
    """Do nothing, because no region is registered."""
    return json_response({})


@router.post("/cudasharedmemory/region/{name}/unregister", responses=oip_responses({}))
async def unregister_cuda_memory_region(name: str) -> Response:
    """Do nothing, because no region is registered."""
    del name
    return json_response({})


@router.get("/trace/setting", responses=oip_responses(OIP["trace"]))
async def get_trace_settings(services: ServicesDep) -> Response:
    """Return the trace settings of all models."""
    return json_response(trace_settings(services.settings.gateway))


@router.get("/models/{model}/trace/setting", responses=oip_responses(OIP["trace"], 404))
async def get_model_trace_settings(services: ServicesDep, model: str) -> Response:
    """Return the trace settings of a model, which are those of all models."""
    await services.catalog.find(model)
    return json_response(trace_settings(services.settings.gateway))


@router.post("/trace/setting", responses=oip_responses(OIP["trace"], 400, 403), openapi_extra=optional_body({}))
async def set_trace_settings(services: ServicesDep, request: Request) -> Response:
    """Return the trace settings; a change is refused."""
    return json_response(trace_settings(services.settings.gateway, await content_of(request)))


@router.post(
    "/models/{model}/trace/setting",
    responses=oip_responses(OIP["trace"], 400, 403, 404),
    openapi_extra=optional_body({}),
)
async def set_model_trace_settings(services: ServicesDep, model: str, request: Request) -> Response:
    """Return the trace settings of a model; a change is refused."""
    await services.catalog.find(model)
    return json_response(trace_settings(services.settings.gateway, await content_of(request)))


@router.get("/logging", responses=oip_responses(OIP["logging"]))
async def get_log_settings(services: ServicesDep) -> Response:
    """Return the log settings."""
    return json_response(log_settings(services.settings.gateway))


@router.post("/logging", responses=oip_responses(OIP["logging"], 400, 403), openapi_extra=optional_body({}))
async def set_log_settings(services: ServicesDep, request: Request) -> Response:
    """Return the log settings; a change is refused."""
    return json_response(log_settings(services.settings.gateway, await content_of(request)))
