"""The gateway.

`python app.py [overrides]` runs it as configured, `uvicorn app:app` and `gunicorn app:app` under their own flags.
"""

import json
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

from uvicorn.config import STARTUP_FAILURE

import commands
import logs
import settings
from business import BUSINESS
from errors import ConfigError, PortInUse
from gateway import process_slots, server
from gateway.application import create_app
from gateway.oip.grpc_server import check_port
from gateway.shutdown import Shutdown
from settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

# The overrides of the command line, for the processes that uvicorn starts.
OVERRIDES = "MARINA_OVERRIDES"

USAGE = """\
usage: python app.py [hydra overrides]

  run the gateway as configured; `uvicorn app:app` and `gunicorn app:app` run it under their own flags
"""


def __getattr__(name: str) -> "ASGIApp":
    """Build `app` when a server reads it, so that importing this module does nothing."""
    if name != "app":
        raise AttributeError(name)
    logs.configure()
    try:
        return _served(_overrides())
    except (ConfigError, PortInUse) as error:
        print(error, file=sys.stderr)
        # With this status, uvicorn and gunicorn start no replacement, which would end in the same way.
        sys.exit(STARTUP_FAILURE)


def _overrides() -> list[str]:
    try:
        found = json.loads(text := os.environ.get(OVERRIDES, "[]"))
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ConfigError(f'{OVERRIDES}={text} is not a list of overrides; write it like ["gateway.access_log=true"]')
    return found


def _served(overrides: list[str]) -> "ASGIApp":
    """Return the application for a server that others have started."""
    started = server.started()
    if started is not None:
        overrides = [*overrides, f"gateway.processes={started.processes}"]
    configured = settings.load(overrides)
    joined = None if started is None or started.parent is None else process_slots.join(started.parent)
    # A process that listened there before this gateway's first one is not part of it.
    check_port(configured.gateway, shared=joined is not None and not joined.alone)
    return _made(configured, overrides, joined)


def _made(
    configured: Settings,
    overrides: list[str],
    joined: process_slots.ProcessSlot | None = None,
    shutdown: Shutdown | None = None,
) -> "ASGIApp":
    control = None
    if configured.gateway.repository_control:
        # Imported here: only a gateway that may roll models out needs it.
        from delivery.rollout import ModelControl

        control = ModelControl(tuple(overrides))
    made = create_app(configured, BUSINESS, control=control, slot=joined, shutdown=shutdown)
    server.settle()
    return made


def main(overrides: list[str]) -> int:
    """Run the gateway until it is stopped; return 2 when the settings do not allow it, 1 when requests were cut off."""
    signal.signal(signal.SIGTERM, _ended)
    try:
        configured = settings.load(overrides)
        server.check_host(configured.gateway)
        check_port(configured.gateway)
    except (ConfigError, PortInUse) as error:
        print(error, file=sys.stderr)
        return 2
    os.environ[OVERRIDES] = json.dumps(overrides)
    logs.configure()
    single, shutdown = configured.gateway.processes == 1, Shutdown()
    server.run(_made(configured, overrides, shutdown=shutdown) if single else "app:app", configured.gateway)
    return 1 if shutdown.unanswered else 0


def _ended(_: int, __: FrameType | None) -> None:
    """End on a signal that comes before the server handles it: nothing is served yet."""
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
