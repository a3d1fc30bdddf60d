"""Workers follow the load, up and down, and no request is lost on the way."""

import asyncio
import time
from collections.abc import Callable

import psutil
import pytest

import engines
from bench.swaps import MixedLoad
from deployments.serving import ServingRecord
from engines.engine_profile import ModelVersion
from settings import Settings, load
from stack import processes
from tests.e2e.conftest import Stack, unseen_digits

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SCALING = (
    "scaling.models={digits:{min_workers:1,max_workers:2}}",
    "scaling.target_queue_ms=8",
    "scaling.up_after_s=2",
    "scaling.down_after_s=3",
    "rollout.watch_s=1",
)


@pytest.fixture
def settings(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Settings:
    stack.use(monkeypatch)
    return load(["served_model=digits"])


def serving(settings: Settings) -> ModelVersion:
    with engines.connect(settings) as engine:
        found = engine.default("digits")
    assert found is not None
    return found


async def under_load(stack: Stack, clients: int, until: Callable[[], bool]) -> list[int]:
    """Statuses of everything that was asked until the condition held."""
    running = MixedLoad(stack.gateway, clients, unseen_digits()[0][:50])
    task = asyncio.create_task(running.run())
    deadline = time.monotonic() + 120
    try:
        while not await asyncio.to_thread(until):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.5)
        await asyncio.sleep(2)
    finally:
        running.stop()
        await task
    return [answer.status for answer in running.answers]


def test_workers_come_with_the_load_and_go_with_it_and_nothing_is_lost(stack: Stack, settings: Settings) -> None:
    before, files = serving(settings), sorted(file.name for file in stack.archives.glob("digits*.mar"))
    scaler = stack.start("-m", "delivery", "scale", *SCALING)
    try:
        up = asyncio.run(under_load(stack, 64, lambda: serving(settings).ready_workers == 2))
        assert serving(settings).version == before.version
        # The same archive again is no reason for a rollout, and keeps the workers that the load asked for.
        assert "serves already" in stack.run("upload_model.py", "served_model=digits", *SCALING)
        down = asyncio.run(under_load(stack, 2, lambda: serving(settings).min_workers == 1))
    finally:
        processes.stop([psutil.Process(scaler.pid)])
        said = scaler.communicate()[0]
    assert "digits gets 2 workers instead of 1" in said
    assert "digits gets 1 workers instead of 2" in said
    assert set(up) == set(down) == {200}
    history = ServingRecord.of(settings).get("digits")
    assert history is not None
    assert history.serving.version == serving(settings).version
    assert len(list(stack.archives.glob("digits*.mar"))) == len(files)
