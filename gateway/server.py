"""How uvicorn runs the gateway, started by `app.py`, by itself or by gunicorn, and where it may be seen from."""

import gc
import multiprocessing
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvicorn

from errors import ConfigError
from gateway import process_slots
from gateway.http.protocol import Protocol
from gateway.security import is_loopback
from settings.schema import GatewaySettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

# Longer than what load generators and proxies keep idle connections for, so that they close first.
KEEP_ALIVE_S = 75


def options(gateway: GatewaySettings) -> dict[str, Any]:
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


def check_host(gateway: GatewaySettings) -> None:
    """Refuses to be seen from other machines unless that was asked for."""
    if not (gateway.insecure or gateway.security.api_keys or is_loopback(gateway.host)):
        raise ConfigError(
            f"gateway.host={gateway.host} can be reached from other machines and nothing checks who asks; set "
            "gateway.security.api_keys (`python -m gateway.apikey NAME` makes one) or gateway.insecure=true"
        )


def run(app: "ASGIApp | str", gateway: GatewaySettings) -> None:
    """Runs the gateway until it is stopped, in one process or several; raises ConfigError as `options` does."""
    try:
        uvicorn.run(app, **options(gateway))
    finally:
        process_slots.clean_up(os.getpid())


@dataclass(frozen=True, slots=True)
class Started:
    """How the server that imports the application was started: by whom, with how many processes."""

    processes: int
    parent: int | None
    """Id of the process whose children they are; None for a server that is but one process."""


def started() -> Started | None:
    """Find the server that imports the application on the stack, and give it our protocol; None for an unknown one.

    Only the server knows how many processes it starts: flags, environment and configuration files all say it. Raises
    ConfigError when the application is imported before the processes are there.
    """
    frame = sys._getframe()
    while (outer := frame.f_back) is not None:
        frame = outer
        caller: Any = frame.f_locals.get("self")
        if isinstance(caller, uvicorn.Config):
            _bring_protocol(caller)
            parent = multiprocessing.parent_process()
            return Started(caller.workers, None if parent is None else parent.pid)
        if _is_gunicorns(caller, "workers.base", "Worker"):
            if isinstance(config := getattr(caller, "config", None), uvicorn.Config):
                _bring_protocol(config)
            return Started(caller.cfg.workers, caller.ppid)
        if _is_gunicorns(caller, "arbiter", "Arbiter"):
            raise ConfigError("gunicorn must let each process import the gateway by itself; start it without --preload")
    return None


def _is_gunicorns(found: Any, module: str, name: str) -> bool:
    known = sys.modules.get(f"gunicorn.{module}")  # imported where gunicorn runs, and only there
    return known is not None and isinstance(found, getattr(known, name))


def _bring_protocol(config: uvicorn.Config) -> None:
    """Replace uvicorn's own protocol, unless another one than that was asked for."""
    if config.http in ("auto", "httptools"):
        # The second is what the first was resolved to, if that has happened already.
        config.http = config.http_protocol_class = Protocol


def settle() -> None:
    """Leaves what was imported out of garbage collection, and collects less often: requests leave no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
