"""The applications of a declared Serve configuration, such as a RayService of KubeRay holds.

    engines.ray.declared:front    one application: the Front, with its table as `user_config`
    engines.ray.declared:worker   one for each version: its workers, from an archive of the store

`engines.ray.serve_config` writes what they are given. They deploy what the Manager does; what differs is that nobody
waits for workers between two steps, so this Front does.
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

from engines.ray import deployments
from engines.ray.answering import Running, answering
from engines.ray.fetch import Source
from engines.ray.front import Front, Limits
from engines.ray.listener import Address
from engines.ray.table import Entry, Registration, Table
from engines.ray.tokens import own_secret

log = logging.getLogger(__name__)

LOOK_S = 0.5


class DeclaredFront(Front):
    """A Front that has each model answered by the version before until the declared one has its workers.

    `secret_file` holds what its tokens are checked with, made when there is none.
    """

    def __init__(self, limits: Limits, address: Address | None, secret_file: str) -> None:
        super().__init__(limits, address)
        self._secret_file = Path(secret_file)
        self._following: asyncio.Task[None] | None = None

    async def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Take over a declared table as far as its workers are there, and the rest of it when they are."""
        declared = Table.of_plain(config["table"])
        if self._following is None:
            await self._look(declared)
        else:
            # It may be waiting for the last answers of what the declaration before has taken away.
            self._following.cancel()
        self._following = asyncio.create_task(self._follow(declared))

    async def _follow(self, declared: Table) -> None:
        while self._table != declared:
            try:
                await self._look(declared)
            except (RayError, RayServeException) as error:
                log.warning("Serve does not tell what runs: %s", type(error).__name__)
            await asyncio.sleep(LOOK_S)

    async def _look(self, declared: Table) -> None:
        table = answering(declared, self._table.defaults, await asyncio.to_thread(_running))
        if table != self._table:
            log.warning("these versions answer: %s", dict(table.defaults))
            secret = own_secret(self._secret_file).hex()
            await super().reconfigure({"secret": secret, "table": table.plain()})


def front(args: dict[str, Any]) -> Any:
    """The application that answers requests."""
    sizes = args["max_request_bytes"], args["job_queue_size"], args["response_timeout_s"]
    limits = Limits.each(args["fronts"], *sizes)
    address = None if args["address"] is None else Address(**args["address"])
    deployment = deployments.front(args["fronts"], on_head=address is not None, kind=DeclaredFront)
    return deployment.bind(limits, address, args["secret_file"])


def worker(args: dict[str, Any]) -> Any:
    """The application that runs one version; how many workers it has stands beside its arguments."""
    registration = Registration(**args["registration"])
    deployment = deployments.worker(Entry(registration, 1, 1), args["cpus"], args["gpus"])
    return deployment.bind(registration, Source(**args["source"]))


def _running() -> dict[str, Running]:
    """What Serve tells of the workers of each application."""
    found = {}
    for name, application in serve.status().applications.items():
        if (deployment := application.deployments.get("Worker")) is not None:
            workers = deployment.replica_states.get(ReplicaState.RUNNING, 0)
            found[name] = Running(workers, complete=application.status == ApplicationStatus.RUNNING)
    return found
