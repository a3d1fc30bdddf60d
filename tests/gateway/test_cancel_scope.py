"""The one limit on a request's time: deadline, disconnect, and an error that somebody else sets."""

import asyncio

import pytest

from errors import DeadlinePassed, WorkerLost
from gateway.http.deadline import CancelScope, ClientDisconnect, Disconnect
from tests.gateway.stage_parts import now

pytestmark = pytest.mark.anyio


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_scope_deadline_raises_deadline_passed_with_the_time_since() -> None:
    started = now()
    with (
        pytest.raises(DeadlinePassed, match="no answer within 1020 ms"),
        CancelScope(started + 0.02, since=started - 1),
    ):
        await for_ever()


async def test_scope_moved_deadline_counts() -> None:
    async def work() -> None:
        with CancelScope(now() + 60) as scope:
            scope.move(now() + 0.01)
            await for_ever()

    with pytest.raises(DeadlinePassed):
        await work()


async def test_scope_disconnect_raises_client_disconnect() -> None:
    disconnect = Disconnect()
    asyncio.get_running_loop().call_soon(disconnect.report)
    with pytest.raises(ClientDisconnect), CancelScope(now() + 60, disconnect):
        await for_ever()
    assert disconnect.callback is None


async def test_scope_entered_after_the_disconnect_raises_at_once() -> None:
    disconnect = Disconnect()
    disconnect.report()
    with pytest.raises(ClientDisconnect), CancelScope(now() + 60, disconnect):
        pytest.fail("the work began")


async def test_scope_cancel_raises_the_given_error() -> None:
    async def work() -> None:
        with CancelScope() as scope:
            asyncio.get_running_loop().call_soon(scope.cancel, WorkerLost("gone"))
            await for_ever()

    with pytest.raises(WorkerLost, match="gone"):
        await work()


async def test_scope_that_ends_in_time_leaves_the_task_alone() -> None:
    with CancelScope(now() + 0.01):
        pass
    await asyncio.sleep(0.02)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_scope_time_limit_of_the_work_itself_passes() -> None:
    with pytest.raises(TimeoutError), CancelScope(now() + 60):
        async with asyncio.timeout(0.001):
            await for_ever()


async def test_scope_inner_and_outer_at_once_end_with_the_outer_error() -> None:
    disconnect = Disconnect()

    async def work() -> None:
        with CancelScope(now() + 60, disconnect), CancelScope() as inner:
            inner.cancel(WorkerLost("gone"))
            disconnect.report()
            await for_ever()

    with pytest.raises(ClientDisconnect):
        await work()


async def test_scope_cancelled_task_stays_cancelled() -> None:
    async def work() -> None:
        with CancelScope(now() + 60):
            await for_ever()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
