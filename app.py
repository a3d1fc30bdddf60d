"""The gateway.

`python app.py [overrides]` runs it as configured, `uvicorn app:app` under uvicorn's own flags.
"""

import json
import os
import sys
from typing import TYPE_CHECKING

import settings
from business import BUSINESS
from errors import ConfigError
from gateway import logs, server
from gateway.application import create_app

if TYPE_CHECKING:
    from starlette.types import ASGIApp

# Carries the overrides of the command line to the processes that uvicorn starts.
OVERRIDES = "MARINA_OVERRIDES"


def __getattr__(name: str) -> "ASGIApp":
    """Builds `app` when uvicorn asks for it, so that importing this module does nothing."""
    if name != "app":
        raise AttributeError(name)
    logs.configure()
    made = create_app(settings.load(json.loads(os.environ.get(OVERRIDES, "[]"))), BUSINESS)
    server.settle()
    return made


def main(overrides: list[str]) -> int:
    """Runs the gateway until it is stopped; 2 when the settings do not allow it."""
    try:
        configured = settings.load(overrides)
        server.check_host(configured.gateway)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    os.environ[OVERRIDES] = json.dumps(overrides)
    logs.configure()
    if configured.gateway.processes > 1:
        server.run("app:app", configured.gateway)
        return 0
    app = create_app(configured, BUSINESS)
    server.settle()
    server.run(app, configured.gateway)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
