"""A batch whose workers are lost: tried twice, then each request by itself; the culprit alone gets an error."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

pytest.importorskip("ray")

from ray.exceptions import ActorUnavailableError
from ray.serve.exceptions import DeploymentUnavailableError, RequestCancelledError

from engines.python.frontend_metrics import Counts
from engines.python.messages import BatchResult, InferenceRequest, InferenceResponse
from engines.python.registry import Registration
from engines.python.version_queue import PendingRequest
from engines.ray import batch_sender
from engines.ray.batch_sender import BatchSender
from engines.torchserve.error_responses import error_from_response
from errors import Internal

pytestmark = pytest.mark.anyio


class Response:
    """What Serve gives back for one call: awaited, or called back."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self._task = asyncio.ensure_future(answer())
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True
        self._task.cancel()

    def __await__(self) -> Any:
        try:
            return (yield from self._task.__await__())
        except asyncio.CancelledError:
            if self._cancelled:
                raise RequestCancelledError("id") from None
            raise


class Workers:
    """Stands for Serve's handle: a body `fatal` ends the worker that has it, `never` is not answered."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.asked = asyncio.Event()
        self.lost = 0
        self.away = 0  # calls for which Serve says that there is no such deployment
        self.before_a_loss: Callable[[], object] = lambda: None

    @property
    def answer(self) -> "Workers":
        return self

    def options(self, **_: str) -> "Workers":
        return self

    def remote(self, batch: Sequence[InferenceRequest]) -> Response:
        self.batches.append([asked.body for asked in batch])

        async def answered() -> BatchResult:
            await asyncio.sleep(0)
            if self.away:
                self.away -= 1
                raise DeploymentUnavailableError("Worker")
            bodies = [asked.body for asked in batch]
            self.asked.set()
            if b"never" in bodies:
                await asyncio.Event().wait()
            if b"fatal" in bodies:
                self.before_a_loss()
                self.lost += 1
                raise ActorUnavailableError("gone", bytes(16))
            return BatchResult([InferenceResponse(200, (), body) for body in bodies], [], 0.0)

        return Response(answered)


@pytest.fixture
def workers() -> Workers:
    return Workers()


def rows(*bodies: bytes, headers: tuple[tuple[str, str], ...] = ()) -> list[PendingRequest]:
    return [PendingRequest(InferenceRequest(str(number), headers, "", body), 0.0) for number, body in enumerate(bodies)]


def tried(workers: Workers, counts: Counts | None = None, timeout_s: int = 60) -> BatchSender:
    registration = Registration("m", "1.0", "", "", 8, 0, timeout_s)
    return BatchSender(registration, workers, counts or Counts())


def statuses(waiting: Sequence[PendingRequest]) -> list[int | None]:
    return [None if row.response is None else row.response.status for row in waiting]


async def test_batch_is_answered_row_by_row(workers: Workers) -> None:
    waiting = rows(b"a", b"b")
    await tried(workers).send(waiting)
    assert [row.response and row.response.body for row in waiting] == [b"a", b"b"]
    assert workers.batches == [[b"a", b"b"]]


async def test_fatal_request_alone_gets_500(workers: Workers) -> None:
    waiting, counts = rows(b"a", b"fatal", b"b", b"c"), Counts()
    await tried(workers, counts).send(waiting)
    assert statuses(waiting) == [200, 500, 200, 200]
    assert workers.batches[:2] == [[b"a", b"fatal", b"b", b"c"]] * 2
    assert sorted(workers.batches[2:]) == [[b"a"], [b"b"], [b"c"], [b"fatal"]]
    assert (workers.lost, counts.lost, dict(counts.statuses)) == (3, 3, {200: 3, 500: 1})


async def test_fatal_request_is_not_sent_again_by_the_gateway(workers: Workers) -> None:
    [waiting] = rows(b"fatal")
    await tried(workers).send([waiting])
    assert waiting.response is not None
    assert json.loads(waiting.response.body)["code"] == 500
    assert type(error_from_response(500, waiting.response.body, "m")) is Internal


async def test_fatal_request_alone_in_its_batch_costs_two_workers(workers: Workers) -> None:
    await tried(workers).send(rows(b"fatal"))
    assert workers.lost == 2


async def test_lost_worker_costs_no_response(workers: Workers) -> None:
    waiting = rows(b"fatal", b"b")

    def innocent() -> None:
        waiting[0].request = InferenceRequest("0", (), "", b"a")

    workers.before_a_loss = innocent
    await tried(workers).send(waiting)
    assert statuses(waiting) == [200, 200]
    assert workers.batches == [[b"fatal", b"b"], [b"a", b"b"]]


async def test_request_without_a_client_is_not_sent(workers: Workers) -> None:
    waiting = rows(b"a", b"fatal")
    waiting[0].leave()
    workers.before_a_loss = waiting[1].leave
    await tried(workers).send(waiting)
    assert workers.batches == [[b"fatal"]]
    assert statuses(waiting) == [None, None]


async def test_batch_without_clients_is_cancelled_and_counts_no_loss(
    workers: Workers,
) -> None:
    waiting, counts = rows(b"never", b"a"), Counts()
    settling = asyncio.create_task(tried(workers, counts).send(waiting))
    await workers.asked.wait()
    waiting[0].leave()
    await asyncio.sleep(0)
    assert not settling.done()
    waiting[1].leave()
    await settling
    assert (len(workers.batches), counts.lost) == (1, 0)


async def test_request_after_its_deadline_is_not_sent(workers: Workers) -> None:
    [late] = rows(b"late", headers=(("x-deadline-at", str(int(time.time() * 1000) - 1)),))
    [early] = rows(b"early", headers=(("x-deadline-at", str(int(time.time() * 1000) + 3_600_000)),))
    await tried(workers).send([late, early])
    assert workers.batches == [[b"early"]]
    assert statuses([late, early]) == [504, 200]
    assert late.response is not None
    assert json.loads(late.response.body)["error"] == "deadline_passed"


async def test_batch_after_a_timeout_is_not_sent_again(workers: Workers) -> None:
    waiting = rows(b"never")
    await tried(workers, timeout_s=0).send(waiting)
    assert statuses(waiting) == [500]
    assert waiting[0].response is not None
    assert b"did not answer within 0 s" in waiting[0].response.body
    assert len(workers.batches) == 1


async def test_absent_deployment_is_awaited_then_503(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_sender, "PAUSE_S", 0.001)
    waiting, workers.away = rows(b"a"), 3
    await tried(workers).send(waiting)
    assert statuses(waiting) == [200]
    monkeypatch.setattr(batch_sender, "ABSENT_S", 0.01)
    waiting, workers.away = rows(b"a"), 10_000
    await tried(workers).send(waiting)
    assert statuses(waiting) == [503]
