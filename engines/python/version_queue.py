"""The queue of one version: bounded, batched and counted.

    answer ──▶ VersionQueue ── Batching ──▶ one batch ──▶ a worker

Its figures are those that TorchServe's frontend counts of its own queue. A placement provides the `Batching`: it waits
for a full batch or for the delay, and sends the batch to a worker.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from engines.python.frontend_metrics import Counts
from engines.python.messages import InferenceRequest, InferenceResponse, ServiceUnavailableException
from engines.python.registry import RegisteredVersion

# One batch per worker: full batches gain more than overlapping two of them, each of which would be half as large.
BATCHES_PER_WORKER = 1


@dataclass(slots=True, eq=False)
class PendingRequest:
    """A request in the queue or with a worker, and its response once there is one.

    `since` is its arrival by the clock of time.perf_counter, `gone` whether its client has hung up. `on_leave` is
    called when the client hangs up while the request is part of a call to a worker.
    """

    request: InferenceRequest
    since: float
    response: InferenceResponse | None = None
    gone: bool = False
    on_leave: Callable[[], None] | None = field(default=None, repr=False)

    def leave(self) -> None:
        """Stop working on this request."""
        self.gone = True
        if self.on_leave is not None:
            self.on_leave()


Batching = Callable[[PendingRequest], Awaitable[InferenceResponse]]
"""Puts one request into a batch and returns its response."""


class VersionQueue:
    """The queue of one version: requests wait, are batched and counted."""

    def __init__(
        self, version: RegisteredVersion, counts: Counts, batching: Callable[[int], Batching], queue_size: int
    ) -> None:
        """Batch requests with `batching`, which takes the number of concurrent batches."""
        self.version = version
        self.counts = counts
        self.inside = 0
        self._batching = batching
        self._queue_size = queue_size
        self._empty = asyncio.Event()
        self._empty.set()
        self._batched = batching(self._concurrent_batches())

    @property
    def workers(self) -> int:
        """Maximum number of workers."""
        return self.version.max_workers

    def resize(self, version: RegisteredVersion) -> None:
        """Take over another number of workers."""
        before, self.version = self._concurrent_batches(), version
        if self._concurrent_batches() != before:
            # Requests in the previous batching still get their answers from it.
            self._batched = self._batching(self._concurrent_batches())

    async def answer(self, request: InferenceRequest) -> InferenceResponse:
        """Return the response to one request. When it is cancelled, nothing more is sent for the request.

        Raises ServiceUnavailableException without workers, and when the queue is full.
        """
        if self.workers == 0 or self.inside >= self._queue_size:
            model, version = self.version.key
            raise ServiceUnavailableException(
                f'Model "{model}" Version {version} has no worker to serve inference request.'
            )
        self.inside += 1
        self._empty.clear()
        pending = PendingRequest(request, time.perf_counter())
        try:
            return await self._batched(pending)
        except asyncio.CancelledError:
            pending.leave()
            raise
        finally:
            self.inside -= 1
            if self.inside == 0:
                self._empty.set()

    async def wait_until_empty(self, timeout_s: float) -> bool:
        """Wait until every request has its response; return False when that takes longer than `timeout_s`."""
        try:
            await asyncio.wait_for(self._empty.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def _concurrent_batches(self) -> int:
        # With scaling, allow more batches than workers, because the placement scales by the waiting batches.
        more = self.version.max_workers if self.version.max_workers > self.version.min_workers else 0
        return max(1, BATCHES_PER_WORKER * self.version.max_workers + more)
