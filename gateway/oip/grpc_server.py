"""The gRPC server, which runs in the gateway's process and event loop."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from errors import ConfigError, PortInUse
from gateway.oip.inference import InferenceRunner
from gateway.oip.repository import ModelRepository
from gateway.oip.shared_memory import RegionRegistry
from gateway.server import check_host
from gateway.services import Services
from gateway.shutdown import Shutdown
from logs import event
from settings.schema import GatewaySettings

if TYPE_CHECKING:
    import grpc

    from gateway.apikey import ApiKeys
    from gateway.oip.infer_streams import InferStreams

_log = logging.getLogger(__name__)

# A message holds names beside the tensors of a request.
OVERHEAD_BYTES = 65536
# Longer than any call; what is left is cut off earlier.
LONGEST_S = 86_400.0


@asynccontextmanager
async def grpc_server(
    services: Services,
    runner: InferenceRunner,
    repository: ModelRepository,
    regions: RegionRegistry | None,
    keys: "ApiKeys | None",
    version: str,
) -> AsyncIterator[None]:
    """Serve inside the block; when the gateway stops, take no new call and wait for those under way.

    Serves nothing when gateway.grpc_port is null. Raises PortInUse, and ConfigError when the host must not be bound.
    """
    gateway = services.settings.gateway
    if gateway.grpc_port is None:
        yield
        return
    # Imported here, so that a gateway without gRPC does not load it.
    import grpc
    from grpc_reflection.v1alpha.reflection import SERVICE_NAME as REFLECTION_SERVICE
    from grpc_reflection.v1alpha.reflection import enable_server_reflection

    from gateway.oip.grpc_health import HEALTH_SERVICE, HealthServicer
    from gateway.oip.grpc_interceptor import RequestInterceptor
    from gateway.oip.grpc_servicer import SERVICE, GrpcServicer

    check_host(gateway)
    # The library logs an error when a client leaves while its status is sent.
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_not_client_gone)
    interceptor = RequestInterceptor(services.recorder, services.budget, keys)
    options = _options(gateway, shared=services.slot is not None)
    server = grpc.aio.server(interceptors=[interceptor], options=options)
    servicer = GrpcServicer(services, runner, repository, regions, version)
    health = HealthServicer(repository, services.shutdown)
    server.add_generic_rpc_handlers((*servicer.handlers(), health.handlers()))
    enable_server_reflection((SERVICE, HEALTH_SERVICE, REFLECTION_SERVICE), server)
    address = f"[{gateway.host}]:{gateway.grpc_port}" if ":" in gateway.host else f"{gateway.host}:{gateway.grpc_port}"
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise _port_in_use(gateway) from error
    if gateway.socket is not None:
        _add_socket(server, f"{gateway.socket}.grpc")
    await server.start()
    event(_log, logging.INFO, "grpc_started", address=address)
    stop = asyncio.create_task(_stop(server, servicer.streams, services.shutdown))
    try:
        yield
    finally:
        services.shutdown.stopping.set()
        _, late = await asyncio.wait({stop}, timeout=gateway.graceful_stop_s)
        if late:
            services.shutdown.cut.set()
        await stop


def _add_socket(server: "grpc.aio.Server", path: str) -> None:
    """Serve at a Unix socket to which only this user may connect. Raises ConfigError when it cannot be made."""
    before = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError:
        raise ConfigError(f"gateway.socket: {path} cannot be made") from None
    finally:
        os.umask(before)


async def _stop(server: "grpc.aio.Server", streams: "InferStreams", shutdown: Shutdown) -> None:
    """Stop when the notice is over: refuse new calls at once, end those under way when they are cut off."""
    await shutdown.stopping.wait()
    streams.close()
    stopped = asyncio.ensure_future(server.stop(LONGEST_S))
    cut = asyncio.ensure_future(shutdown.cut.wait())
    await asyncio.wait({stopped, cut}, return_when=asyncio.FIRST_COMPLETED)
    cut.cancel()
    await server.stop(None)
    await stopped


def check_port(gateway: GatewaySettings, *, shared: bool = False) -> None:
    """Raise PortInUse when another process listens on the gRPC port already; a `shared` port may have listeners.

    Raises ConfigError when the host must not be bound.
    """
    if gateway.grpc_port is None:
        return
    check_host(gateway)
    family = socket.AF_INET6 if ":" in gateway.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        try:
            probe.bind((gateway.host, gateway.grpc_port))
        except OSError as error:
            raise _port_in_use(gateway) from error


def _is_not_client_gone(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("ExecuteBatchError raised in core")


def _options(gateway: GatewaySettings, *, shared: bool) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", gateway.max_body_bytes + OVERHEAD_BYTES),
        ("grpc.max_send_message_length", -1),
        # All processes of this gateway share the port; another program must not.
        ("grpc.so_reuseport", int(shared)),
    ]


def _port_in_use(gateway: GatewaySettings) -> PortInUse:
    return PortInUse(
        f"gateway: port {gateway.grpc_port} on {gateway.host} cannot be opened; another process may use it; "
        "set another port with gateway.grpc_port=PORT"
    )
