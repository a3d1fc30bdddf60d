"""Sends copies of answered requests to a version on trial, compares the answers and drops them.

A copy starts after its client has been answered. It skips deduplication and admission, and is dropped when too many
copies are under way.
"""

import asyncio
import logging
from contextvars import Context
from dataclasses import replace

from deployments.traffic import TrafficSplit
from errors import DeadlinePassed, RequestError, UnknownModel
from gateway.hooks import EngineResponse, PredictionRequest, Predictor
from gateway.metrics import TrialMetrics
from gateway.traffic.splits import TrafficSplits
from gateway.upstream.daemon_threads import DaemonThreads
from handlers.outputs import Comparison, adopted, compare_responses
from logs import event, log_task_error

_log = logging.getLogger(__name__)

LARGE = 65536
"""Bytes of an answer from which comparing takes so long that other requests would notice: a thread does it."""


class ShadowTraffic:
    """The copies under way, limited for each gateway process."""

    def __init__(self, predictor: Predictor, splits: TrafficSplits, metrics: TrialMetrics) -> None:
        self._predictor = predictor
        self._splits = splits
        self._metrics = metrics
        self._under_way: set[asyncio.Task[None]] = set()
        self._comparing = DaemonThreads(1, "compare")

    def copy(self, split: TrafficSplit, request: PredictionRequest, answer: EngineResponse) -> None:
        """Send a copy, or count that too many are under way."""
        if len(self._under_way) >= split.max_copies:
            self._metrics.copied(request.model, split.trial, "dropped")
            return
        # In a separate context, because a copy must not appear in its client's logs and traces.
        task = asyncio.get_running_loop().create_task(self._compare(split, request, answer), context=Context())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        task.add_done_callback(log_task_error)

    async def close(self) -> None:
        """Cancel the copies that are under way."""
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)
        self._comparing.close()

    async def _compare(self, split: TrafficSplit, request: PredictionRequest, answer: EngineResponse) -> None:
        try:
            copy = await self._answer(split, request)
        except RequestError as error:
            if isinstance(error, UnknownModel):
                self._splits.end(request.model)
            self._metrics.copied(request.model, split.trial, "failed")
            return
        if max(len(answer.body), len(copy.body)) < LARGE:
            comparison = _compared(answer, copy, split.tolerance)
        else:
            comparison = await self._comparing.run(_compared, answer, copy, split.tolerance)
        self._metrics.copied(request.model, split.trial, "differs" if comparison.differs else "same")
        self._metrics.changed(request.model, split.trial, comparison.change)
        if comparison.differs:
            event(
                _log,
                logging.INFO,
                "shadow_differs",
                model=request.model,
                of=request.request_id,
                stable=comparison.stable,
                trial=comparison.trial,
            )

    async def _answer(self, split: TrafficSplit, request: PredictionRequest) -> EngineResponse:
        clock = asyncio.get_running_loop().time
        started, status = clock(), 504
        until = started + split.copy_timeout_s
        name = f"{request.request_id[:100]} shadow"
        own = replace(request, version=split.trial, trial=True, request_id=name, deadline=until)
        try:
            async with asyncio.timeout_at(until):
                found = await self._predictor.predict(own)
            status = found.status
        except TimeoutError:
            raise DeadlinePassed("the copy was not answered in time") from None
        except RequestError as error:
            status = error.status
            raise
        finally:
            self._metrics.answered(request.model, split.trial, "shadow", status, clock() - started)
        return found


def _compared(stable: EngineResponse, trial: EngineResponse, tolerance: float) -> Comparison:
    """Compare two versions' responses; those of adopted archives with their statuses and headers."""
    if stable.headers is None and trial.headers is None:
        return compare_responses(stable.body, trial.body, tolerance)
    return adopted.KIND.compare(adopted.recorded(stable.whole), adopted.recorded(trial.whole), tolerance)
