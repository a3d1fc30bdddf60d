"""The requests of one version on their way to its workers: batched and counted.

    ask ──▶ @serve.batch ──▶ Tries ──▶ the worker that Ray finds the freest

What is counted here is what TorchServe's frontend counts of its own queue.
"""

import asyncio
import time
from typing import Any

from ray import serve

from engines.ray.asked import Asked, Told
from engines.ray.counts import Counts
from engines.ray.refusals import Unavailable
from engines.ray.table import Entry
from engines.ray.tries import Tries, Waiting

# Full batches are worth more than the moment between two of them: with two at a worker, each would be half as large.
AT_A_WORKER = 1


class Line:
    """One version's requests."""

    def __init__(self, entry: Entry, handle: Any, queue_size: int) -> None:
        self.entry = entry
        self.counts = Counts()
        self.inside = 0
        self._tries = Tries(entry.registration, handle, self.counts)
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
        """Return the answer to one request; cancelled, nothing more is sent for it.

        Raises Unavailable without workers and beyond the queue's size.
        """
        name = self.entry.registration
        if self.workers == 0 or self.inside >= self._queue_size:
            raise Unavailable(f'Model "{name.model}" Version {name.version} has no worker to serve inference request.')
        self.inside += 1
        self._empty.clear()
        waiting = Waiting(asked, time.perf_counter())
        try:
            told: Told = await self._batched(waiting)
            return told
        except asyncio.CancelledError:
            waiting.leave()
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

        async def forward(waiting: list[Waiting]) -> list[Told | None]:
            await self._tries.settle(waiting)
            # One without an answer has no client any more, and nobody takes it.
            return [each.told for each in waiting]

        return serve.batch(
            max_batch_size=registration.batch_size,
            batch_wait_timeout_s=registration.max_batch_delay / 1000,
            max_concurrent_batches=self._at_once(),
        )(forward)
