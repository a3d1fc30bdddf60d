"""The gateway.

`python app.py [overrides]` runs it as configured, `uvicorn app:app` and `gunicorn app:app` under their own flags.
"""

import json
import os
import sys
from typing import TYPE_CHECKING

from uvicorn.config import STARTUP_FAILURE

import settings
from business import BUSINESS
from errors import ConfigError, PortInUse
from gateway import logs, server, siblings
from gateway.application import create_app
from gateway.oip.grpc_server import check_port

if TYPE_CHECKING:
    from starlette.types import ASGIApp

# Carries the overrides of the command line to the processes that uvicorn starts.
OVERRIDES = "MARINA_OVERRIDES"


def __getattr__(name: str) -> "ASGIApp":
    """Builds `app` when a server asks for it, so that importing this module does nothing."""
    if name != "app":
        raise AttributeError(name)
    logs.configure()
    overrides = json.loads(os.environ.get(OVERRIDES, "[]"))
    try:
        return _served(overrides)
    except (ConfigError, PortInUse) as error:
        print(error, file=sys.stderr)
        # By this status uvicorn and gunicorn know that the next process would end like this one, and stop.
        sys.exit(STARTUP_FAILURE)


def _served(overrides: list[str]) -> "ASGIApp":
    """The application in a process of a server that others have started."""
    started = server.started()
    if started is None:
        return _made(overrides)
    overrides = [*overrides, f"gateway.processes={started.processes}"]
    if started.parent is None:
        return _made(overrides)
    joined = siblings.join(started.parent)
    # Whatever listens there before the first of us came is not one of us.
    check_port(settings.load(overrides).gateway, shared=not joined.alone)
    return _made(overrides, joined)


def _made(overrides: list[str], joined: siblings.Siblings | None = None) -> "ASGIApp":
    configured = settings.load(overrides)
    control = None
    if configured.gateway.repository_control:
        # Imported here: only a gateway that may roll models out needs to be able to.
        from delivery.control import ModelControl

        control = ModelControl(tuple(overrides))
    made = create_app(configured, BUSINESS, control=control, siblings=joined)
    server.settle()
    return made


def main(overrides: list[str]) -> int:
    """Runs the gateway until it is stopped; 2 when the settings do not allow it."""
    try:
        configured = settings.load(overrides)
        server.check_host(configured.gateway)
        check_port(configured.gateway)
    except (ConfigError, PortInUse) as error:
        print(error, file=sys.stderr)
        return 2
    os.environ[OVERRIDES] = json.dumps(overrides)
    logs.configure()
    single = configured.gateway.processes == 1
    server.run(_made(overrides) if single else "app:app", configured.gateway)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
