"""gRPC's own health service, which Kubernetes' probes and load balancers call."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from errors import UnknownModel
from gateway.oip.grpc_servicer import SERVICE, rpc_handlers
from gateway.oip.repository import ModelRepository
from gateway.shutdown import Shutdown

HEALTH_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
# How soon `Watch` reports a change.
INTERVAL_S = 1.0

_Status = health_pb2.HealthCheckResponse
_SERVICES = frozenset({"", SERVICE, HEALTH_SERVICE})


class HealthServicer:
    """Answers SERVING while every model that delivery recorded or a short route names has a worker."""

    def __init__(self, repository: ModelRepository, shutdown: Shutdown) -> None:
        self._repository = repository
        self._shutdown = shutdown

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers of the service."""
        return rpc_handlers(HEALTH_SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].methods, self)

    async def Check(self, message: health_pb2.HealthCheckRequest, _: Any) -> health_pb2.HealthCheckResponse:  # noqa: N802 -- the service's own name
        """Return the status of a service, of the whole server for none. Raises UnknownModel for another service."""
        status = await self._status(message.service)
        if status == _Status.SERVICE_UNKNOWN:
            raise UnknownModel(f"no service {message.service[:80]!r} is offered here; {SERVICE} is")
        return _Status(status=status)

    async def List(self, _: health_pb2.HealthListRequest, __: Any) -> health_pb2.HealthListResponse:  # noqa: N802
        """Return the status of every service."""
        statuses = {service: _Status(status=await self._status(service)) for service in sorted(_SERVICES)}
        return health_pb2.HealthListResponse(statuses=statuses)

    async def Watch(  # noqa: N802
        self, message: health_pb2.HealthCheckRequest, _: Any
    ) -> AsyncGenerator[health_pb2.HealthCheckResponse, None]:
        """Yield the status of a service, and each change of it, until the gateway stops."""
        last: int | None = None
        while not self._shutdown.stopping.is_set():
            status = await self._status(message.service)
            if status != last:
                yield _Status(status=status)
            last = status
            with suppress(TimeoutError):
                await asyncio.wait_for(self._shutdown.stopping.wait(), INTERVAL_S)

    async def _status(self, service: str) -> Any:
        if service not in _SERVICES:
            return _Status.SERVICE_UNKNOWN
        return _Status.NOT_SERVING if await self._repository.missing() else _Status.SERVING
