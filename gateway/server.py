"""The options of uvicorn, whether `app.py`, uvicorn itself or gunicorn starts the gateway; checks of the host."""

import gc
import multiprocessing
import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from errors import ConfigError
from gateway import process_slots
from gateway.http.protocol import ClientConnection
from gateway.security import is_loopback
from settings.schema import GatewaySettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

# Longer than load generators and proxies keep idle connections, so that the client closes first.
KEEP_ALIVE_S = 75
# uvicorn ends a process that does not answer it for so long; one that starts on a busy machine answers late.
HEALTH_CHECK_S = 30
# `gateway.shutdown` cuts requests off before the server would.
MARGIN_S = 5


def options(gateway: GatewaySettings) -> dict[str, Any]:
    """Return the keyword arguments for uvicorn.run. Raises ConfigError when the host must not be bound."""
    check_host(gateway)
    return {
        "host": gateway.host,
        "port": gateway.port,
        "workers": gateway.processes,
        "loop": "uvloop",
        "http": ClientConnection,
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": KEEP_ALIVE_S,
        "timeout_worker_healthcheck": HEALTH_CHECK_S,
        "timeout_graceful_shutdown": gateway.graceful_stop_s + MARGIN_S,
    }


def check_host(gateway: GatewaySettings) -> None:
    """Raise ConfigError when other machines could reach the gateway and the settings do not ask for that."""
    if not (gateway.insecure or gateway.security.api_keys or is_loopback(gateway.host)):
        raise ConfigError(
            f"gateway.host={gateway.host} can be reached from other machines and nothing checks their requests; set "
            "gateway.security.api_keys (`python -m gateway.apikey NAME` makes one) or gateway.insecure=true"
        )


def run(app: "ASGIApp | str", gateway: GatewaySettings) -> None:
    """Run the gateway until it is stopped, in one process or several. Raises ConfigError as `options` does."""
    try:
        if gateway.socket is None:
            uvicorn.run(app, **options(gateway))
        else:
            _run_with_socket(app, gateway, Path(gateway.socket))
    finally:
        process_slots.clean_up(os.getpid())


def _run_with_socket(app: "ASGIApp | str", gateway: GatewaySettings, path: Path) -> None:
    """Do as `uvicorn.run`, which listens on a port or on a socket but not on both."""
    config = uvicorn.Config(app, **options(gateway))
    sockets = [config.bind_socket(), _unix_socket(path)]
    if config.workers > 1:
        Multiprocess(config, sockets=sockets).run()
        return
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        server.run(sockets)
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def _unix_socket(path: Path) -> socket.socket:
    """Return a socket at `path`, in the place of the one that a gateway before this one has left.

    Only this user may connect. Raises ConfigError when it cannot be made.
    """
    if path.exists() and not path.is_socket():
        raise ConfigError(f"gateway.socket={path} is there already and is no socket; choose another name")
    new = path.parent / f"{path.name}.{os.getpid()}"
    made = socket.socket(socket.AF_UNIX)
    try:
        made.bind(str(new))
        new.chmod(0o600)
        new.replace(path)
    except OSError as error:
        made.close()
        with suppress(OSError):
            new.unlink()
        raise ConfigError(f"gateway.socket={path} cannot be made: {error.strerror or error}") from None
    return made


@dataclass(frozen=True, slots=True)
class Started:
    """The start of the server that imports the application: its number of processes and their parent."""

    processes: int
    parent: int | None
    """Id of the parent process; None for a server of one process."""


def started() -> Started | None:
    """Find the server that imports the application on the stack, and set our protocol; None for an unknown server.

    Only the server knows how many processes it starts, from flags, environment or configuration files. Raises
    ConfigError when the application is imported before the processes exist.
    """
    frame = sys._getframe()
    while (outer := frame.f_back) is not None:
        frame = outer
        caller: Any = frame.f_locals.get("self")
        if isinstance(caller, uvicorn.Config):
            _set_protocol(caller)
            parent = multiprocessing.parent_process()
            return Started(caller.workers, None if parent is None else parent.pid)
        if _is_gunicorns(caller, "workers.base", "Worker"):
            if isinstance(config := getattr(caller, "config", None), uvicorn.Config):
                _set_protocol(config)
            return Started(caller.cfg.workers, caller.ppid)
        if _is_gunicorns(caller, "arbiter", "Arbiter"):
            raise ConfigError("gunicorn must let each process import the gateway by itself; start it without --preload")
    return None


def _is_gunicorns(found: Any, module: str, name: str) -> bool:
    known = sys.modules.get(f"gunicorn.{module}")  # imported where gunicorn runs, and only there
    return known is not None and isinstance(found, getattr(known, name))


def _set_protocol(config: uvicorn.Config) -> None:
    """Replace uvicorn's own protocol, unless the user chose another one."""
    if config.http in ("auto", "httptools"):
        # uvicorn may have resolved the first into the second already.
        config.http = config.http_protocol_class = ClientConnection


def settle() -> None:
    """Leave imported objects out of garbage collection, and collect less often: requests leave no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
