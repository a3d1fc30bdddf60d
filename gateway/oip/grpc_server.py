"""The gRPC server: in the gateway's process and event loop, from its start to its stop."""

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from errors import PortInUse
from gateway.oip.context import Oip
from gateway.server import check_host
from gateway.tracing import Tracer
from logs import event
from settings.schema import Gateway

_log = logging.getLogger(__name__)

# A request's tensors come in a message that also names them.
OVERHEAD_BYTES = 65536


@asynccontextmanager
async def grpc_server(oip: Oip, version: str, tracer: Tracer) -> AsyncIterator[None]:
    """Serves while the gateway runs; at its end takes no new call and waits for those under way.

    Nothing when gateway.grpc_port is null. Raises PortInUse, and ConfigError when the host may not be
    bound to.
    """
    gateway = oip.services.settings.gateway
    if gateway.grpc_port is None:
        yield
        return
    # Imported here: a gateway without gRPC does not pay for it.
    import grpc

    from gateway.oip.grpc_edge import Edge
    from gateway.oip.servicer import Servicer, registered

    check_host(gateway)
    services = oip.services
    # The library calls it an error when a client leaves in the moment in which its status is sent.
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_no_client_that_left)
    edge = Edge(services.metrics, services.receiving, oip.keys, tracer, access_log=gateway.access_log)
    server = grpc.aio.server(interceptors=[edge], options=_options(gateway, shared=services.siblings is not None))
    servicer = Servicer(oip, version)
    server.add_generic_rpc_handlers((registered(servicer),))
    address = _address(gateway.host, gateway.grpc_port)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise _taken(gateway) from error
    await server.start()
    event(_log, logging.INFO, "grpc_started", address=address)
    try:
        yield
    finally:
        servicer.streams.close()
        await server.stop(gateway.graceful_stop_s)


def check_port(gateway: Gateway, *, shared: bool = False) -> None:
    """Raises PortInUse when another process listens on the gRPC port already; a `shared` one may do so.

    Raises ConfigError when the host may not be bound to.
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
            raise _taken(gateway) from error


def _is_no_client_that_left(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("ExecuteBatchError raised in core")


def _options(gateway: Gateway, *, shared: bool) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", gateway.max_body_bytes + OVERHEAD_BYTES),
        ("grpc.max_send_message_length", -1),
        # One port for all processes of this gateway, but never silently beside somebody else's.
        ("grpc.so_reuseport", int(shared)),
    ]


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _taken(gateway: Gateway) -> PortInUse:
    return PortInUse(
        f"gateway: port {gateway.grpc_port} on {gateway.host} cannot be listened on, another process may have it; "
        "move ours with gateway.grpc_port=PORT"
    )
