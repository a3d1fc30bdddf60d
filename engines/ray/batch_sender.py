"""Sends a batch to a worker: tries twice, then sends each request alone when workers are lost, then gives up.

    send ──▶ the worker that Ray finds the freest ──▶ a response for each request
              └── lost: tried once more ── lost again: each request by itself, once ── lost: WorkerDied

A worker answers one batch at a time, and Serve itself sends a batch elsewhere when no worker had accepted it. So a loss
here happened while a worker had this batch. A request that ends its worker costs three workers at most, and the others
of its batch get their responses. Predictions change nothing, so sending them again is safe.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

import grpc
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException

from engines.python.frontend_metrics import Counts
from engines.python.messages import (
    BatchResult,
    DeadlineExceeded,
    ErrorResponse,
    InferenceResponse,
    InternalServerException,
    ServiceUnavailableException,
    WorkerDied,
)
from engines.python.registry import Registration
from engines.python.version_queue import Batching, PendingRequest
from handlers import batch
from logs import event

log = logging.getLogger(__name__)

TRIES = 2
# Serve reports for a moment that a deployment does not exist, while a version of the same name is replaced.
ABSENT_S = 5.0
PAUSE_S = 0.1
# A handler's own errors are responses. Any other exception was raised between the Frontend and a worker.
LOST = (RayError, RayServeException, grpc.RpcError, OSError)


class BatchSender:
    """Sends batches to the workers of one version; `handle` is Serve's."""

    def __init__(self, registration: Registration, handle: Any, counts: Counts) -> None:
        self._registration = registration
        self._name = f"{registration.model} {registration.version}"
        self._timeout_s = registration.response_timeout_s
        # Plain pickle handles all messages. Ray's own also carries code, and is slower for it.
        self._handle = handle.options(request_serialization="pickle", response_serialization="pickle")
        self._counts = counts

    def batching(self, concurrent_batches: int) -> Batching:
        """Return a function that puts a request into a batch; as many batches as given are sent at the same time."""

        async def send(rows: list[PendingRequest]) -> list[InferenceResponse | None]:
            await self.send(rows)
            # A request without a response has no client any more; Serve ignores the value.
            return [each.response for each in rows]

        batched: Batching = serve.batch(
            max_batch_size=self._registration.batch_size,
            batch_wait_timeout_s=self._registration.max_batch_delay / 1000,
            max_concurrent_batches=concurrent_batches,
        )(send)
        return batched

    async def send(self, rows: Sequence[PendingRequest]) -> None:
        """Give every request of a batch its response; a request whose client has gone gets none."""
        await self._send(rows, TRIES, time.monotonic() + self._timeout_s)

    async def _send(self, rows: Sequence[PendingRequest], tries: int, until: float) -> None:
        for _ in range(tries):
            rows = [row for row in rows if self._is_wanted(row)]
            if not rows or await self._is_answered(rows, until):
                return
        if len(rows) > 1:
            log.warning("workers of %s were lost with one batch: each of its requests is sent by itself", self._name)
            await asyncio.gather(*(self._send([row], 1, until) for row in rows))
            return
        name = f"a request ended the workers of {self._name}"
        event(log, logging.ERROR, name, request_id=rows[0].request.request_id)
        self._refuse(rows, WorkerDied("Worker died: each one that had this request ended before it answered."))

    def _is_wanted(self, row: PendingRequest) -> bool:
        """Return whether a client waits; a request whose deadline has passed gets its response here."""
        if row.gone:
            return False
        if batch.deadline_of(dict(row.request.headers)).passed:
            self._refuse([row], DeadlineExceeded("the deadline passed before a worker had the request"))
            return False
        return True

    async def _is_answered(self, rows: Sequence[PendingRequest], until: float) -> bool:
        """Return whether each request has its response, or no client any more; False when a worker was lost."""
        began = time.perf_counter()
        try:
            result = await self._result(rows, until)
        except ErrorResponse as error:
            self._refuse(rows, error)
        except LOST as error:
            if all(row.gone for row in rows):
                return True
            self._counts.lost += 1
            log.warning("a worker of %s was lost: %s", self._name, type(error).__name__)
            return False
        else:
            self._accept(rows, result, began)
        return True

    async def _result(self, rows: Sequence[PendingRequest], until: float) -> BatchResult:
        """Return the result of a worker. Raises the error response for the rows, or the error of a lost worker."""
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                return await self._call(rows)
        except TimeoutError:
            raise WorkerDied(f"Worker of {self._name} did not answer within {self._timeout_s} s.") from None
        except BackPressureError:
            raise ServiceUnavailableException("every worker is busy") from None
        except RayTaskError as error:
            log.exception("a worker of %s broke", self._name)
            raise InternalServerException(f"Worker broke: {type(error).__name__}") from None
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
                message = "A batch or its answers are larger than this cluster's messages may be."
                raise InternalServerException(message) from None
            raise

    async def _call(self, rows: Sequence[PendingRequest]) -> BatchResult:
        absent_until = time.monotonic() + ABSENT_S
        while True:
            call = self._handle.answer.remote([row.request for row in rows])

            def cancel_without_clients(call: Any = call) -> None:
                if all(row.gone for row in rows):
                    call.cancel()

            for row in rows:
                row.on_leave = cancel_without_clients
            try:
                result: BatchResult = await call
                return result
            except DeploymentUnavailableError:
                if time.monotonic() + PAUSE_S >= absent_until:
                    raise ServiceUnavailableException(f"{self._name} has no worker") from None
                await asyncio.sleep(PAUSE_S)
            finally:
                for row in rows:
                    row.on_leave = None

    def _accept(self, rows: Sequence[PendingRequest], result: BatchResult, began: float) -> None:
        done = time.perf_counter()
        for row, response in zip(rows, result.responses, strict=True):
            row.response = response
        # All time but the worker's own counts as waiting, the time in the network included.
        queued = [done - row.since - result.seconds for row in rows]
        statuses = [response.status for response in result.responses]
        self._counts.add(statuses, queued, done - began, result.samples)

    def _refuse(self, rows: Sequence[PendingRequest], error: ErrorResponse) -> None:
        for row in rows:
            row.response = InferenceResponse.of_error(error)
        self._counts.statuses[error.status] += len(rows)
