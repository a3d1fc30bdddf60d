"""`python -m engines.ray [overrides]`: joins a Ray cluster and runs the Manager there, until it is stopped.

What it has deployed runs on without it: requests go to the Front. Started anew, it finds what it had registered.
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
from engines.ray import logs
from errors import ConfigError, EngineError, MarinaError
from settings import Settings
from settings.load import ROOT
from settings.schema import RayServeSettings

log = logging.getLogger(__name__)

JOIN_S = 20.0  # for a cluster that is said to run already

USAGE = "usage: python -m engines.ray engine=ray [hydra overrides]\n\n  run the manager of engine=ray until SIGTERM\n"


def main(arguments: Sequence[str]) -> int:
    """Run until SIGTERM or Ctrl-C and return the exit status."""
    logs.structure_program()
    try:
        loaded = settings.load(arguments)
        logs.take_output()
        if not isinstance(loaded.engine, RayServeSettings):
            raise ConfigError(f"engine={loaded.engine.name}: this is the manager of engine=ray")
        _run(loaded, loaded.engine)
    except MarinaError as error:
        log.error("%s", error)
        return 1
    except KeyboardInterrupt:
        """Asked to stop."""
    return 0


def _run(loaded: Settings, engine: RayServeSettings) -> None:
    # Imported in steps: a cluster is looked for first, because Ray is slow to load, slower to find that there is none,
    # and wants to know before whether the cluster asks for a token.
    check_installed(RAY)
    from engines.ray.joining import join
    from engines.ray.refusals import Refusal

    try:
        if engine.address is None:
            join(f"{engine.host}:{engine.ray_port}", engine.start_timeout_s)
            threading.Thread(target=_end_with, args=(f"{engine.host}:{engine.ray_port}",), daemon=True).start()
        else:
            join(engine.address, JOIN_S)
        _manage(loaded, engine)
    except Refusal as refusal:
        raise EngineError(str(refusal)) from None


def _end_with(address: str) -> None:
    """End this process with its head: Ray itself would wait for a minute, and nothing can be changed meanwhile."""
    from engines.ray.joining import wait_until_gone

    wait_until_gone(address)
    log.error("the head at %s is gone, and this manager with it", address)
    os._exit(1)


def _manage(loaded: Settings, engine: RayServeSettings) -> None:
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    from engines.ray import cluster, tokens
    from engines.ray.fetch import Source
    from engines.ray.management_api import ManagementApi
    from engines.ray.manager import Manager
    from engines.ray.read_only import ReadOnlyManager

    # Again: with its import, Ray has set up loggers of its own.
    logs.structure_program()
    keys = ROOT / engine.key_file
    secret = tokens.own_secret(keys.with_name("secret"))
    signer = tokens.Tokens(secret)
    key_file = tokens.KeyFile(keys, signer, engine.token_expiration_min * 60)
    source = Source.of(loaded)
    serving = cluster.Cluster(engine, source, secret)
    kind = ReadOnlyManager if engine.declared else Manager
    manager = kind(serving, source, TrustPolicy.of(loaded), Path(engine.model_store), engine.start_timeout_s)
    try:
        manager.start()
    except (RayError, RayServeException) as error:
        raise EngineError(f"Ray Serve does not start: {str(error).strip().splitlines()[-1]}") from None
    key_file.renew(("management", "inference"), time.time())
    api = ManagementApi(manager, signer, key_file, engine.job_queue_size, engine.response_timeout_s)
    metrics = _server(api.metrics(), engine.host, engine.metrics_port)
    threading.Thread(target=metrics.run, name="metrics", daemon=True).start()
    _server(api.application(), engine.host, engine.management_port).run()


def _server(application: Any, host: str, port: int) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(application, host=host, port=port, log_config=None, access_log=False))


if __name__ == "__main__":
    status = commands.run(main, USAGE)
    sys.stdout.flush()
    # Ray's own ending would wait for threads that a stopped manager has no more use for.
    os._exit(status)
