"""Answers that are kept for the same question: while they are fresh, of one version, and certain."""

import asyncio

import pytest

from errors import Internal, NoWorker
from gateway.metrics import Metrics
from gateway.scheduling.dedupe import Deduplicator, ResponseCache
from settings.schema import CacheSettings
from tests.gateway.stage_parts import GivenEngine, answer, failing, request, sample

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "body", [b'{"observation": [1], "deterministic": false}', b'{"instances": [[1]], "\\u0064eterministic": false}']
)
async def test_sampled_actions_are_neither_shared_nor_cached(body: bytes) -> None:
    engine = GivenEngine()
    engine.fail = lambda _: Internal("not asked for an answer here")
    cache = ResponseCache(
        Deduplicator(engine, Metrics()), CacheSettings(max_entries=9, ttl_s=60), lambda *_: "1.0", Metrics()
    )
    await asyncio.gather(*(cache.predict(request(body)) for _ in range(2)), return_exceptions=True)
    engine.fail = lambda _: None
    await asyncio.gather(*(cache.predict(request(body)) for _ in range(2)), return_exceptions=True)
    assert [each.body for each in engine.seen] == [body] * 4


async def test_cache_hits_until_old_or_full() -> None:
    engine, metrics = GivenEngine(), Metrics()
    cache = ResponseCache(engine, CacheSettings(max_entries=2, ttl_s=60), lambda *_: "1.0", metrics)
    for number in (1, 1, 2, 1, 3, 2):
        assert await cache.predict(request([number])) == answer(number)
    assert [each.json() for each in engine.seen] == [[1], [2], [3], [2]]
    assert sample(metrics, "cache_total", model="cartpole", result="hit") == 2
    stale = ResponseCache(engine, CacheSettings(max_entries=2, ttl_s=1e-9), lambda *_: "1.0", metrics)
    before = len(engine.seen)
    for _ in range(2):
        await stale.predict(request([1]))
    assert len(engine.seen) == before + 2


async def test_cache_empties_when_the_version_changes() -> None:
    engine, version = GivenEngine(), ["1.0"]
    cache = ResponseCache(engine, CacheSettings(max_entries=9, ttl_s=60), lambda *_: version[0], Metrics())
    await cache.predict(request([1]))
    version[0] = "2.0"
    await cache.predict(request([1]))
    version[0] = "1.0"
    await cache.predict(request([1]))
    assert len(engine.seen) == 3


async def test_cache_keeps_no_errors() -> None:
    engine = GivenEngine()
    failing(engine, NoWorker("gone"), times=1)
    cache = ResponseCache(engine, CacheSettings(max_entries=9, ttl_s=60), lambda *_: "1.0", Metrics())
    with pytest.raises(NoWorker):
        await cache.predict(request([1]))
    assert await cache.predict(request([1])) == answer(1)
