"""The gateway.

`python app.py [overrides]` runs it as configured, `uvicorn app:app` under uvicorn's own flags.
"""

import json
import os
import sys
from typing import TYPE_CHECKING

import settings
from business import BUSINESS
from errors import ConfigError, PortInUse
from gateway import logs, server
from gateway.application import create_app
from gateway.oip.grpc_server import check_port

if TYPE_CHECKING:
    from starlette.types import ASGIApp

# Carries the overrides of the command line to the processes that uvicorn starts.
OVERRIDES = "MARINA_OVERRIDES"


def __getattr__(name: str) -> "ASGIApp":
    """Builds `app` when uvicorn asks for it, so that importing this module does nothing."""
    if name != "app":
        raise AttributeError(name)
    logs.configure()
    return _made(json.loads(os.environ.get(OVERRIDES, "[]")))


def _made(overrides: list[str]) -> "ASGIApp":
    configured = settings.load(overrides)
    control = None
    if configured.gateway.repository_control:
        # Imported here: only a gateway that may roll models out needs to be able to.
        from delivery.control import ModelControl

        control = ModelControl(tuple(overrides))
    made = create_app(configured, BUSINESS, control=control)
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
