"""One of several engine hosts: whether it is well, what it serves, and which requests it has."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from deployments.traffic import AnsweringVersions
from errors import WorkerLost
from gateway.catalog import Look
from gateway.engine import Engine, EngineAnswer
from gateway.hooks import PredictionRequest
from gateway.metrics import Metrics
from gateway.served import ServedModel
from logs import event

_log = logging.getLogger(__name__)

# One late answer is a busy machine, two in a row are a host that hangs.
MISSES = 2

Ping = Callable[[], Awaitable[bool]]


class Node:
    """Takes part while it answers and serves the versions that may answer."""

    def __init__(
        self,
        name: str,
        upstream: Engine,
        look: Look,
        ping: Ping,
        live: Callable[[], AnsweringVersions],
        metrics: Metrics,
    ) -> None:
        self.name = name
        self.models: Mapping[str, ServedModel] = {}
        self.right = False  # whether it served the right versions when it last told
        self.used = 0  # its last turn, so that equals take turns
        self._upstream = upstream
        self._look = look
        self._ping = ping
        self._live = live
        self._metrics = metrics
        self._running: set[asyncio.Task[EngineAnswer]] = set()
        self._misses = 0
        self._in_traffic = False
        metrics.node_in_traffic(name, ready=False)

    @property
    def in_traffic(self) -> bool:
        """Whether it gets requests."""
        return self._in_traffic

    @property
    def outstanding(self) -> int:
        """Requests that wait for its answer."""
        return len(self._running)

    def has(self, request: PredictionRequest) -> bool:
        """Whether it had a worker for this request when it was last looked at."""
        model = self.models.get(request.model)
        version = None if model is None else model.version(request.version)
        return version is not None and version.workers_ready > 0

    async def predict(self, request: PredictionRequest) -> EngineAnswer:
        """Its answer. Raises WorkerLost when it is given up meanwhile, and what the upstream raises."""
        task = asyncio.ensure_future(self._upstream.predict(request))
        self._running.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            raise WorkerLost(f"node {self.name} answers no longer") from None
        finally:
            self._running.discard(task)
            del task  # an error's traceback leads to this frame, and the task to the error

    async def check(self) -> None:
        """Takes it out when it does not answer, and looks whether it may come back when it does."""
        if await self._ping():
            self._misses = 0
            if not self._in_traffic:
                await self.look()
            return
        self._misses += 1
        if self._misses >= MISSES or not self._in_traffic:
            self.leave("it does not answer")
            for task in tuple(self._running):
                task.cancel()

    async def look(self) -> None:
        """Looks at what it serves, and judges by it.

        Raises EngineError when it does not tell: that keeps it out, but is no reason to take it out while it answers.
        """
        before = self._live()
        self.models = await self._look()
        # Staying needs the right versions only: a worker that restarts is no reason to lose the other models.
        self.right = serves(self.models, together(before, self._live()), workers=not self._in_traffic)
        if self.right:
            self._join()
        else:
            self.leave("it does not serve the versions that it should")

    def leave(self, reason: str) -> None:
        """Takes it out: no new requests until it is found right again."""
        if self._in_traffic:
            event(_log, logging.WARNING, "node_left", node=self.name, reason=reason)
        self._in_traffic = False
        self._metrics.node_in_traffic(self.name, ready=False)

    def _join(self) -> None:
        if not self._in_traffic:
            event(_log, logging.INFO, "node_joined", node=self.name)
        self._in_traffic = True
        self._metrics.node_in_traffic(self.name, ready=True)


def together(one: AnsweringVersions, other: AnsweringVersions) -> AnsweringVersions:
    """Merge two readings: reading what a host serves takes a moment, in which a rollout may have gone on."""
    both = one.keys() & other.keys()
    return {model: one[model] | other[model] for model in both}


def serves(models: Mapping[str, ServedModel], live: AnsweringVersions, *, workers: bool) -> bool:
    """Return True if each model serves a version that may answer; with `workers`, each must have a ready one, too."""
    for name, versions in live.items():
        model = models.get(name)
        if model is None or model.default.version not in versions:
            return False
        if workers and not model.default.workers_ready:
            return False
    return True
