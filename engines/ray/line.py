"""The requests of one version on their way to its workers: batched, sent again when a worker is lost, counted.

    ask ──▶ @serve.batch ──▶ handle ──▶ the worker that Ray finds the freest
                               └── lost: the batch goes to another while there is time

What is counted here is what TorchServe's frontend counts of its own queue.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException

from engines.ray.asked import Asked, Told
from engines.ray.counts import Counts
from engines.ray.refusals import Failed, Refusal, Unavailable
from engines.ray.table import Entry
from engines.ray.worker import Answered

log = logging.getLogger(__name__)

# Full batches are worth more than the moment between two of them: with two at a worker, each would be half as large.
AT_A_WORKER = 1
PAUSE_S = 0.02
# A handler's own errors are answers; what is raised beside them comes from the way to a worker, whichever that is.
LOST = (RayError, RayServeException, grpc.RpcError, OSError)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request and when it came, by the clock of time.perf_counter."""

    asked: Asked
    since: float


class Line:
    """One version's requests."""

    def __init__(self, entry: Entry, handle: Any, queue_size: int) -> None:
        self.entry = entry
        self.counts = Counts()
        self.inside = 0
        # Plain pickle knows all that is sent; Ray's own also carries code, and takes longer for it.
        self._handle = handle.options(request_serialization="pickle", response_serialization="pickle")
        self._queue_size = queue_size
        self._empty = asyncio.Event()
        self._empty.set()
        self._batched = self._batching()

    @property
    def workers(self) -> int:
        """The most that it may have."""
        return self.entry.max_workers

    def changed(self, entry: Entry) -> None:
        """Take over another number of workers."""
        at_once, self.entry = self._at_once(), entry
        if self._at_once() != at_once:
            # What waits in the one before is still answered from there.
            self._batched = self._batching()

    async def ask(self, asked: Asked) -> Told:
        """The answer to one request. Raises Unavailable without workers and beyond the queue's size."""
        name = self.entry.registration
        if self.workers == 0 or self.inside >= self._queue_size:
            raise Unavailable(f'Model "{name.model}" Version {name.version} has no worker to serve inference request.')
        self.inside += 1
        self._empty.clear()
        try:
            told: Told = await self._batched(_Waiting(asked, time.perf_counter()))
            return told
        except Refusal as refusal:
            self.counts.statuses[refusal.status] += 1
            raise
        finally:
            self.inside -= 1
            if self.inside == 0:
                self._empty.set()

    async def emptied(self, timeout_s: float) -> bool:
        """Wait until every request that came has its answer; False when they have not after `timeout_s`."""
        try:
            await asyncio.wait_for(self._empty.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def _at_once(self) -> int:
        # Where workers follow the load, some more batches: what waits for a worker is what Ray goes by.
        more = self.entry.max_workers if self.entry.max_workers > self.entry.min_workers else 0
        return max(1, AT_A_WORKER * self.entry.max_workers + more)

    def _batching(self) -> Any:
        registration = self.entry.registration

        async def forward(waiting: list[_Waiting]) -> list[Told]:
            return await self._forward(waiting)

        return serve.batch(
            max_batch_size=registration.batch_size,
            batch_wait_timeout_s=registration.max_batch_delay / 1000,
            max_concurrent_batches=self._at_once(),
        )(forward)

    async def _forward(self, waiting: Sequence[_Waiting]) -> list[Told]:
        sent = time.perf_counter()
        answered = await self._answered([each.asked for each in waiting])
        done = time.perf_counter()
        # What is not the worker's own time counts as waiting, the way through the network too.
        queued = [done - each.since - answered.seconds for each in waiting]
        self.counts.add([told.status for told in answered.told], queued, done - sent, answered.samples)
        return answered.told

    async def _answered(self, batch: list[Asked]) -> Answered:
        """From the first worker that is not lost on the way; predictions change nothing, so asking again is safe."""
        name = self.entry.registration
        deadline = time.monotonic() + name.response_timeout_s
        while True:
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    answered: Answered = await self._handle.answer.remote(batch)
                    return answered
            except TimeoutError:
                raise Failed(f"Worker of {name.model} {name.version} did not answer in time") from None
            except BackPressureError:
                raise Unavailable("every worker is busy") from None
            except RayTaskError as error:
                log.exception("a worker of %s %s broke", name.model, name.version)
                raise Failed(f"Worker broke: {type(error).__name__}") from None
            except LOST as error:
                if isinstance(error, grpc.RpcError) and error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise Failed("A batch or its answers are larger than this cluster's messages may be.") from None
                log.warning("a worker of %s %s was lost: %s", name.model, name.version, type(error).__name__)
                self.counts.lost += 1
                if time.monotonic() + PAUSE_S >= deadline:
                    raise Failed("Worker died.") from None
                await asyncio.sleep(PAUSE_S)
