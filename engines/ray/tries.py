"""A batch on its way to a worker: tried, split when its workers are lost, given up.

    settle ──▶ the worker that Ray finds the freest ──▶ an answer for each request
                 └── lost: tried once more ── lost again: each request by itself, once ── lost: WorkerDied, its own

A worker answers one batch at a time, and Serve itself sends a batch elsewhere that no worker had accepted: what is lost
here was lost while a worker had this very batch. A request that ends its worker costs three workers at most, and the
others of its batch get their answers. Predictions change nothing, so sending again is safe.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from engines.ray.asked import Answered, Asked, Told
from engines.ray.counts import Counts
from engines.ray.refusals import DeadlinePassed, Failed, Refusal, Unavailable, WorkerDied
from engines.ray.table import Registration
from handlers import batch

log = logging.getLogger(__name__)

TRIES = 2
# Serve says for a moment that there is no such deployment, while a version of the same name is taken away and comes.
AWAY_S = 5.0
PAUSE_S = 0.1
# A handler's own errors are answers; what is raised beside them comes from the way to a worker, whichever that is.
LOST = (RayError, RayServeException, grpc.RpcError, OSError)


@dataclass(slots=True, eq=False)
class Waiting:
    """A request, when it came by the clock of time.perf_counter, its answer, and whether its client has gone.

    `call` is the one that it is part of, as long as that lasts.
    """

    asked: Asked
    since: float
    told: Told | None = None
    gone: bool = False
    call: "_Call | None" = None

    def leave(self) -> None:
        """Send nothing more for it; a batch that nobody waits for any more is called back."""
        self.gone = True
        if self.call is not None:
            self.call.left()


class _Call:
    """One batch with a worker, or before one that is not there yet."""

    def __init__(self, rows: Sequence[Waiting], response: Any) -> None:
        self._rows = rows
        self.response = response

    def left(self) -> None:
        """Call the batch back when the client of each of its requests has gone."""
        if all(row.gone for row in self._rows):
            self.response.cancel()


class Tries:
    """The way to the workers of one version; `handle` is Serve's."""

    def __init__(self, registration: Registration, handle: Any, counts: Counts) -> None:
        self._name = f"{registration.model} {registration.version}"
        self._timeout_s = registration.response_timeout_s
        # Plain pickle knows all that is sent; Ray's own also carries code, and takes longer for it.
        self._handle = handle.options(request_serialization="pickle", response_serialization="pickle")
        self._counts = counts

    async def settle(self, rows: Sequence[Waiting]) -> None:
        """Give every request of a batch its answer; one whose client has gone gets none."""
        await self._settle(rows, TRIES, time.monotonic() + self._timeout_s)

    async def _settle(self, rows: Sequence[Waiting], tries: int, until: float) -> None:
        for _ in range(tries):
            rows = [row for row in rows if self._is_wanted(row)]
            if not rows or await self._sent(rows, until):
                return
        if len(rows) > 1:
            log.warning("workers of %s were lost with one batch: each of its requests is sent by itself", self._name)
            await asyncio.gather(*(self._settle([row], 1, until) for row in rows))
            return
        log.error(
            "a request ended the workers of %s", self._name, extra={"fields": {"request_id": rows[0].asked.request_id}}
        )
        self._refuse(rows, WorkerDied("Worker died: each one that had this request ended before it answered."))

    def _is_wanted(self, row: Waiting) -> bool:
        """Whether somebody waits; a request whose moment is over gets its answer here."""
        if row.gone:
            return False
        if batch.deadline_of(dict(row.asked.headers)).passed:
            self._refuse([row], DeadlinePassed("the deadline passed before a worker had the request"))
            return False
        return True

    async def _sent(self, rows: Sequence[Waiting], until: float) -> bool:
        """Whether each request has its answer, or no client any more; False when a worker was lost with them."""
        began = time.perf_counter()
        try:
            answered = await self._answered(rows, until)
        except Refusal as refusal:
            self._refuse(rows, refusal)
        except LOST as error:
            if all(row.gone for row in rows):
                return True
            self._counts.lost += 1
            log.warning("a worker of %s was lost: %s", self._name, type(error).__name__)
            return False
        else:
            self._take(rows, answered, began)
        return True

    async def _answered(self, rows: Sequence[Waiting], until: float) -> Answered:
        """What a worker answers. Raises the refusal that the rows get, or what it was lost with."""
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                return await self._called(rows)
        except TimeoutError:
            raise WorkerDied(f"Worker of {self._name} did not answer within {self._timeout_s} s.") from None
        except BackPressureError:
            raise Unavailable("every worker is busy") from None
        except RayTaskError as error:
            log.exception("a worker of %s broke", self._name)
            raise Failed(f"Worker broke: {type(error).__name__}") from None
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise Failed("A batch or its answers are larger than this cluster's messages may be.") from None
            raise

    async def _called(self, rows: Sequence[Waiting]) -> Answered:
        away_until = time.monotonic() + AWAY_S
        while True:
            call = _Call(rows, self._handle.answer.remote([row.asked for row in rows]))
            for row in rows:
                row.call = call
            try:
                answered: Answered = await call.response
                return answered
            except DeploymentUnavailableError:
                if time.monotonic() + PAUSE_S >= away_until:
                    raise Unavailable(f"no worker of {self._name} is there") from None
                await asyncio.sleep(PAUSE_S)
            finally:
                for row in rows:
                    row.call = None

    def _take(self, rows: Sequence[Waiting], answered: Answered, began: float) -> None:
        done = time.perf_counter()
        for row, told in zip(rows, answered.told, strict=True):
            row.told = told
        # What is not the worker's own time counts as waiting, the way through the network too.
        queued = [done - row.since - answered.seconds for row in rows]
        self._counts.add([told.status for told in answered.told], queued, done - began, answered.samples)

    def _refuse(self, rows: Sequence[Waiting], refusal: Refusal) -> None:
        for row in rows:
            row.told = Told.refused(refusal)
        self._counts.statuses[refusal.status] += len(rows)
