"""How uvicorn runs the gateway, and where it may be seen from."""

import gc
import os
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import uvicorn

from errors import ConfigError
from gateway.guards import is_loopback
from gateway.metrics import SHARED
from gateway.protocol import Protocol
from settings.schema import Gateway

if TYPE_CHECKING:
    from starlette.types import ASGIApp

# Longer than what load generators and proxies keep idle connections for, so that they close first.
KEEP_ALIVE_S = 75


def options(gateway: Gateway) -> dict[str, Any]:
    """Keyword arguments for uvicorn.run. Raises ConfigError when the host may not be bound to."""
    check_host(gateway)
    return {
        "host": gateway.host,
        "port": gateway.port,
        "workers": gateway.processes,
        "loop": "uvloop",
        "http": Protocol,
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": KEEP_ALIVE_S,
        "timeout_graceful_shutdown": gateway.graceful_stop_s,
    }


def check_host(gateway: Gateway) -> None:
    """Refuses to be seen from other machines unless that was asked for."""
    if not (gateway.insecure or gateway.security.api_keys or is_loopback(gateway.host)):
        raise ConfigError(
            f"gateway.host={gateway.host} can be reached from other machines and nothing checks who asks; set "
            "gateway.security.api_keys (`python -m gateway.apikey NAME` makes one) or gateway.insecure=true"
        )


def run(app: "ASGIApp | str", gateway: Gateway) -> None:
    """Runs the gateway until it is stopped, in one process or several; raises ConfigError as `options` does."""
    if gateway.processes == 1:
        uvicorn.run(app, **options(gateway))
        return
    with TemporaryDirectory(prefix="marina-metrics-") as folder:
        # prometheus_client reads it when it is imported: the processes that are started below have it, this one not.
        os.environ[SHARED] = folder
        uvicorn.run(app, **options(gateway))


def settle() -> None:
    """Leaves what was imported out of garbage collection, and collects less often: requests leave no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
