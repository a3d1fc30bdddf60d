"""Builds the applications of a declared Serve configuration, such as a RayService of KubeRay contains.

    engines.ray.declared:front    one application: the Frontends, with their registry as `user_config`
    engines.ray.declared:worker   one for each version: its workers, from an archive of the store

`engines.ray.serve_config` writes their arguments. They build what the Cluster deploys. Nothing waits for workers
between two steps of a declaration, so this Frontend does.
"""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatus, ReplicaState

from engines.python.frontend import FrontendLimits, ListenAddress
from engines.python.model_store import ArchiveSource
from engines.python.registry import (
    ModelRegistry,
    RegisteredVersion,
    Registration,
    RunningWorkers,
    with_ready_defaults,
)
from engines.python.tokens import own_secret
from engines.ray.deployments import ServeFrontend, frontend_deployment, worker_deployment

log = logging.getLogger(__name__)

POLL_S = 0.5


class DeclaredFrontend(ServeFrontend):
    """A Frontend that lets the previous version of each model answer until the declared one has its workers.

    `secret_file` contains the secret of the tokens; it is written where it is missing.
    """

    def __init__(self, limits: FrontendLimits, address: ListenAddress | None, secret_file: str) -> None:
        super().__init__(limits, address)
        self._secret_file = Path(secret_file)
        self._following: asyncio.Task[None] | None = None

    async def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Take over a declared registry as far as its workers are ready, and the rest of it later."""
        declared = ModelRegistry.from_json(config["table"])
        if self._following is None:
            await self._update(declared)
        else:
            # It may be waiting for the last requests to versions that the previous declaration removed.
            self._following.cancel()
        self._following = asyncio.create_task(self._follow(declared))

    async def _follow(self, declared: ModelRegistry) -> None:
        while self._registry != declared:
            try:
                await self._update(declared)
            except (RayError, RayServeException) as error:
                log.warning("Serve does not report what runs: %s", type(error).__name__)
            await asyncio.sleep(POLL_S)

    async def _update(self, declared: ModelRegistry) -> None:
        running = await asyncio.to_thread(_running_workers)
        registry = with_ready_defaults(declared, self._registry.defaults, running)
        if registry != self._registry:
            log.warning("these versions answer: %s", dict(registry.defaults))
            secret = own_secret(self._secret_file).hex()
            await super().reconfigure({"secret": secret, "table": registry.as_json()})


def front(args: dict[str, Any]) -> Any:
    """Build the application that answers requests."""
    sizes = args["max_request_bytes"], args["job_queue_size"], args["response_timeout_s"]
    limits = FrontendLimits.each(args["fronts"], *sizes)
    address = None if args["address"] is None else ListenAddress(**args["address"])
    deployment = frontend_deployment(args["fronts"], on_head=address is not None, kind=DeclaredFrontend)
    return deployment.bind(limits, address, args["secret_file"])


def worker(args: dict[str, Any]) -> Any:
    """Build the application that runs one version; its number of workers is not among its arguments."""
    registration = Registration(**args["registration"])
    deployment = worker_deployment(RegisteredVersion(registration, 1, 1), args["cpus"], args["gpus"])
    return deployment.bind(registration, ArchiveSource(**args["source"]))


def _running_workers() -> dict[str, RunningWorkers]:
    """Return the workers of each application, as Serve reports them."""
    found = {}
    for name, application in serve.status().applications.items():
        if (deployment := application.deployments.get("Worker")) is not None:
            workers = deployment.replica_states.get(ReplicaState.RUNNING, 0)
            found[name] = RunningWorkers(workers, complete=application.status == ApplicationStatus.RUNNING)
    return found
