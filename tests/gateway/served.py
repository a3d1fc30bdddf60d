"""The gateway under uvicorn, in a thread of the test process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import uvicorn

import settings
from gateway import server
from gateway.application import create_app
from gateway.hooks import Business
from gateway.oip.repository import RepositoryControl
from gateway.tracing import Tracer
from prometheus import GatewayMetrics
from tests.gateway.engine import Engine
from tests.gateway.given import GivenTorchServe
from tests.polling import wait_for
from tests.ports import free_port


@contextmanager
def gateway_for(
    engine: Engine | GivenTorchServe,
    *overrides: str,
    business: Business | None = None,
    tracer: Tracer | None = None,
    control: RepositoryControl | None = None,
) -> Iterator[str]:
    """URL of a gateway in front of this engine."""
    configured = settings.load(
        [
            f"gateway.port={free_port()}",
            "gateway.grpc_port=null",  # one event loop a process is what gRPC is made for; test_oip starts programs
            *engine.overrides,
            *overrides,
        ]
    )
    options: dict[str, Any] = server.options(configured.gateway)
    app = create_app(configured, business or Business(), tracer, control)
    uvicorn_server = uvicorn.Server(uvicorn.Config(app, **options))
    thread = threading.Thread(target=uvicorn_server.run)
    thread.start()
    try:
        wait_for(lambda: uvicorn_server.started or not thread.is_alive())
        assert uvicorn_server.started
        yield configured.gateway.url
    finally:
        uvicorn_server.should_exit = True
        thread.join()


def figures_of(gateway: str, *overrides: str) -> GatewayMetrics:
    """The figures of the gateway at this URL, as delivery reads them."""
    return GatewayMetrics(settings.load([f"gateway.port={urlsplit(gateway).port}", *overrides]).gateway)
