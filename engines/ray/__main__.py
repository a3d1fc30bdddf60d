"""`python -m engines.ray [overrides]`: joins a Ray cluster and runs the manager there, until SIGTERM.

Its deployments keep running without it, because requests go to the Frontends. A new manager finds what is registered.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn

import commands
import settings
from archive import TrustPolicy
from engines.profiles import RAY, check_installed
from engines.python.process_setup import log_output, log_program
from errors import ConfigError, EngineError, MarinaError
from settings import Settings
from settings.load import ROOT
from settings.schema import RayServeSettings

log = logging.getLogger(__name__)

JOIN_S = 20.0  # according to the settings, the cluster runs already

USAGE = "usage: python -m engines.ray engine=ray [hydra overrides]\n\n  run the manager of engine=ray until SIGTERM\n"


def main(arguments: Sequence[str]) -> int:
    """Run until SIGTERM or Ctrl-C and return the exit status."""
    log_program()
    try:
        loaded = settings.load(arguments)
        log_output()
        if not isinstance(loaded.engine, RayServeSettings):
            raise ConfigError(f"engine={loaded.engine.name}: this is the manager of engine=ray")
        _run(loaded, loaded.engine)
    except MarinaError as error:
        log.error("%s", error)
        return 1
    except KeyboardInterrupt:
        """SIGTERM or Ctrl-C."""
    return 0


def _run(loaded: Settings, engine: RayServeSettings) -> None:
    # Imported in steps: `join` contacts the cluster first, because Ray is slow to load, slower to notice a missing
    # cluster, and must know before its import whether the cluster requires a token.
    check_installed(RAY)
    from engines.python.messages import ErrorResponse
    from engines.ray.connect import join

    try:
        if engine.address is None:
            join(f"{engine.host}:{engine.ray_port}", engine.start_timeout_s)
            threading.Thread(target=_end_with, args=(f"{engine.host}:{engine.ray_port}",), daemon=True).start()
        else:
            join(engine.address, JOIN_S)
        _manage(loaded, engine)
    except ErrorResponse as error:
        raise EngineError(str(error)) from None


def _end_with(address: str) -> None:
    """End this process with its head; Ray itself would wait for a minute, during which no change is possible."""
    from engines.ray.connect import wait_until_gone

    wait_until_gone(address)
    log.error("the head at %s is gone, and this manager with it", address)
    os._exit(1)


def _manage(loaded: Settings, engine: RayServeSettings) -> None:
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    from engines.python import tokens
    from engines.python.management_api import ManagementApi
    from engines.python.manager import ModelManager, ReadOnlyManager
    from engines.python.model_store import ArchiveSource
    from engines.ray.cluster import Cluster

    # Again, because Ray's import has set up its own loggers.
    log_program()
    keys = ROOT / engine.key_file
    secret = tokens.own_secret(keys.with_name("secret"))
    signer = tokens.TokenSigner(secret)
    key_file = tokens.KeyFile(keys, signer, engine.token_expiration_min * 60)
    source = ArchiveSource.of(loaded)
    placement = Cluster(engine, source, secret)
    kind = ReadOnlyManager if engine.declared else ModelManager
    manager = kind(placement, source, TrustPolicy.of(loaded), Path(engine.model_store), engine.start_timeout_s)
    try:
        manager.start()
    except (RayError, RayServeException) as error:
        raise EngineError(f"Ray Serve does not start: {str(error).strip().splitlines()[-1]}") from None
    key_file.renew(("management", "inference"), time.time())
    limits = engine.job_queue_size, engine.response_timeout_s
    api = ManagementApi(manager, signer, key_file, *limits, (RayError, RayServeException))
    metrics = _server(api.metrics(), engine.host, engine.metrics_port)
    threading.Thread(target=metrics.run, name="metrics", daemon=True).start()
    _server(api.application(), engine.host, engine.management_port).run()


def _server(application: Any, host: str, port: int) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(application, host=host, port=port, log_config=None, access_log=False))


if __name__ == "__main__":
    status = commands.run(main, USAGE)
    sys.stdout.flush()
    # Ray's own exit would wait for threads that have no more use.
    os._exit(status)
