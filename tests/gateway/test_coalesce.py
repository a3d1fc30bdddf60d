"""Concurrent observations share a request to the engine, and nobody can tell from the answers."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import requests

from errors import InvalidFields, NoWorker
from gateway.hooks import EngineResponse
from gateway.metrics import Metrics
from gateway.scheduling.coalesce import Coalescer, ObservationReader, reader_for, split
from gateway.tracing import NoTracer
from settings.schema import CoalesceSettings
from tests.gateway.engine import FIELDS, Engine
from tests.gateway.served import gateway_for
from tests.gateway.stage_parts import CARD, GivenEngine, answer, request, sample, settle
from tests.gateway.test_faults import metric

READER = reader_for(CARD)


def coalescer(engine: GivenEngine, metrics: Metrics | None = None, max_batch: int = 4) -> Coalescer:
    settings = CoalesceSettings(enabled=True, max_batch=max_batch, max_delay_ms=1000)
    return Coalescer(engine, settings, lambda *_: READER, metrics or Metrics(), NoTracer())


def state(number: float) -> list[float]:
    return [number, 0, 0, 0]


@pytest.mark.anyio
async def test_coalescer_lone_request_is_sent_at_once_unchanged() -> None:
    engine = GivenEngine()
    assert await coalescer(engine).predict(request(state(1))) == answer(1)
    assert engine.seen[0].body == json.dumps(state(1)).encode()


@pytest.mark.anyio
async def test_coalescer_concurrent_requests_share_one_and_get_their_own_response() -> None:
    engine, metrics = GivenEngine(), Metrics()
    shared = coalescer(engine, metrics)
    states = [state(0), dict(zip(FIELDS, state(1), strict=True)), state(2)]
    answers = await asyncio.gather(*(shared.predict(request(each)) for each in states))
    assert answers == [answer(0), answer(1), answer(2)]
    assert len(engine.seen) == 1
    assert sample(metrics, "coalesced_size_sum", model="cartpole") == 3


@pytest.mark.anyio
async def test_coalescer_request_with_options_is_sent_alone_unchanged() -> None:
    engine = GivenEngine()
    shared = coalescer(engine)
    named = dict(zip(FIELDS, state(1), strict=True))
    asked = [
        {"instances": [state(0)], "deterministic": False, "seed": 7},
        {"observation": named, "deterministic": False},
        {"observation": state(2), "action_masks": [True, False]},
        named | {"seed": 7},
    ]
    await asyncio.gather(
        *(shared.predict(request(each)) for each in (*asked, state(3), state(4))), return_exceptions=True
    )
    bodies = [json.loads(each.body) for each in engine.seen]
    assert [body for body in bodies if body in asked] == asked
    assert {"instances": [state(3), state(4)]} in bodies


@pytest.mark.anyio
async def test_coalescer_next_batch_leaves_when_the_one_before_is_back() -> None:
    engine = GivenEngine()
    engine.free.clear()
    shared = coalescer(engine)
    first = asyncio.ensure_future(shared.predict(request(state(0))))
    await settle()
    rest = [asyncio.ensure_future(shared.predict(request(state(number)))) for number in (1, 2)]
    await settle()
    assert len(engine.seen) == 1
    engine.free.set()
    assert await asyncio.gather(first, *rest) == [answer(0), answer(1), answer(2)]
    assert len(engine.seen) == 2


@pytest.mark.anyio
async def test_coalescer_batch_never_exceeds_its_size() -> None:
    engine, metrics = GivenEngine(), Metrics()
    shared = coalescer(engine, metrics)
    answers = await asyncio.gather(*(shared.predict(request(state(number / 10))) for number in range(10)))
    assert answers == [answer(number / 10) for number in range(10)]
    assert sorted(len(each.json()["instances"]) for each in engine.seen) == [2, 4, 4]


@pytest.mark.anyio
async def test_coalescer_refused_batch_is_resent_one_by_one() -> None:
    engine = GivenEngine()
    engine.fail = lambda one: InvalidFields("no") if b"instances" in one.body or b"[3" in one.body else None
    shared = coalescer(engine)
    given = await asyncio.gather(*(shared.predict(request(state(n))) for n in (1, 2, 3)), return_exceptions=True)
    assert given[:2] == [answer(1), answer(2)]
    assert isinstance(given[2], InvalidFields)


@pytest.mark.anyio
async def test_coalescer_unreachable_engine_fails_all_members_at_once() -> None:
    engine = GivenEngine()
    engine.fail = lambda _: NoWorker("gone")
    shared = coalescer(engine)
    given = await asyncio.gather(*(shared.predict(request(state(n))) for n in (1, 2, 3)), return_exceptions=True)
    assert {type(each) for each in given} == {NoWorker}
    assert len(engine.seen) == 1


@pytest.mark.anyio
async def test_coalescer_cancelled_member_is_not_sent() -> None:
    engine = GivenEngine()
    engine.free.clear()
    shared = coalescer(engine)
    first = asyncio.ensure_future(shared.predict(request(state(0))))
    await settle()
    stays = asyncio.ensure_future(shared.predict(request(state(1))))
    leaves = asyncio.ensure_future(shared.predict(request(state(2))))
    await settle()
    leaves.cancel()
    engine.free.set()
    assert (await first, await stays) == (answer(0), answer(1))
    assert b"2" not in engine.seen[1].body


@pytest.mark.anyio
async def test_coalescer_lone_request_is_cancelled_with_its_client() -> None:
    engine = GivenEngine()
    engine.free.clear()
    alone = asyncio.ensure_future(coalescer(engine).predict(request(state(0))))
    await settle()
    alone.cancel()
    await settle()
    assert engine.cancelled == 1


@pytest.mark.anyio
async def test_coalescer_unsplittable_response_is_resent() -> None:
    class Odd(GivenEngine):
        async def predict(self, request: object) -> EngineResponse:
            given = await super().predict(request)  # type: ignore[arg-type]
            return EngineResponse(given.body.replace(b"},{", b"} {"), given.content_type, given.version)

    shared = coalescer(Odd())
    given = await asyncio.gather(*(shared.predict(request(state(number))) for number in (1, 2)))
    assert given == [answer(1), answer(2)]


DOUBTFUL = {
    "not json": b"{",
    "nan": b"[NaN,0,0,0]",
    "a boolean": b"[true,0,0,0]",
    "text": b'["1",0,0,0]',
    "null": b"[null,0,0,0]",
    "too few": b"[0,0,0]",
    "many at once": b"[[0,0,0,0],[0,0,0,0]]",
    "instances": b'{"instances":[[0,0,0,0]]}',
    "out of range": b"[4.9,0,0,0]",
    "infinite in 32 bits": b"[0,1e39,0,0]",
    "a missing field": b'{"cart_position":0,"cart_velocity":0,"pole_angle":0}',
    "an unknown field": b'{"cart_position":0,"cart_velocity":0,"pole_angle":0,"x":0}',
}


@pytest.mark.parametrize("body", DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_reader_doubtful_observation_is_none(body: bytes) -> None:
    assert READER is not None
    assert READER.read(body) is None


def test_reader_named_fields_follow_the_space() -> None:
    assert READER is not None
    body = b'{"pole_angular_velocity":4,"pole_angle":0.3,"cart_velocity":2,"cart_position":1}'
    assert READER.read(body) == [1, 2, 0.3, 4]


def test_reader_field_may_be_named_like_an_option() -> None:
    space = {"type": "box", "shape": [2], "dtype": "float32", "low": -1, "high": None}
    card = {"kind": "policy", "observation": {"fields": ["observation", "seed"], "space": space}}
    reader = reader_for(card)
    assert reader is not None
    assert reader.read(b'{"seed": 2, "observation": 1}') == [1, 2]
    for alone in (b'{"observation": [1, 2]}', b'{"observation": [1, 2], "seed": 2}', b'{"instances": [[1, 2]]}'):
        assert reader.read(alone) is None


@pytest.mark.parametrize(
    "change", [{"shape": [2, 2]}, {"dtype": "uint8"}, {"type": "discrete"}, {"low": [0]}, {"shape": None}]
)
def test_reader_for_other_spaces_is_none(change: dict[str, object]) -> None:
    observation = CARD["observation"]
    changed = {**CARD, "observation": {**observation, "space": {**observation["space"], **change}}}
    assert reader_for(changed) is None
    assert reader_for({"kind": "vision"}) is None


def test_reader_one_bound_counts_for_all_numbers() -> None:
    space = {"type": "box", "shape": [2], "dtype": "float32", "low": -1, "high": None}
    assert reader_for({"kind": "policy", "observation": {"fields": None, "space": space}}) == ObservationReader(
        None, ((-1, 3.4e38), (-1, 3.4e38))
    )


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_split_pieces_equal_lone_responses(separators: tuple[str, str]) -> None:
    predictions = [{"action": [1e-07, 0.1]}, {"action": ["a]b", {"predictions": []}]}, {"action": 1e16}]

    def whole(some: list[object]) -> bytes:
        content = {"model": "predictions", "predictions": some, "weights": "random"}
        return json.dumps(content, separators=separators).encode()

    assert split(whole([*predictions]), 3) == [whole([each]) for each in predictions]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"predictions":[1]}', b'{"predictions":[1,2', "é".encode()])
def test_split_other_response_is_none(body: bytes) -> None:
    assert split(body, 2) is None


def test_gateway_responses_are_the_same_with_and_without_coalescing(engine: Engine) -> None:
    def ask(url: str, number: int) -> bytes:
        position = "oops" if number % 10 == 7 else number / 100
        headers = {"X-Request-Id": "same"}
        body = dict(zip(FIELDS, [position, 0, 0, 0], strict=True))
        sent = requests.post(f"{url}/predict", json=body, headers=headers, timeout=60)
        return str(sent.status_code).encode() + sent.content

    found = []
    for switch in ("true", "false"):
        with gateway_for(engine, f"gateway.coalesce.enabled={switch}") as url, ThreadPoolExecutor(32) as pool:
            found.append(list(pool.map(lambda number: ask(url, number), range(128))))
            together = metric(url, "marina_gateway_coalesced_size_count")
            assert together < 128 if switch == "true" else together == 0
    assert found[0] == found[1]


@pytest.mark.anyio
async def test_coalescer_size_that_shrinks_while_requests_wait_splits_their_batch() -> None:
    assert READER is not None
    engine, readers = GivenEngine(), [READER]
    settings = CoalesceSettings(enabled=True, max_batch=8, max_delay_ms=60_000)
    shared = Coalescer(engine, settings, lambda *_: readers[-1], Metrics(), NoTracer())
    engine.free.clear()
    waiting = [asyncio.ensure_future(shared.predict(request(state(0))))]
    await settle()
    waiting += [asyncio.ensure_future(shared.predict(request(state(number)))) for number in (1, 2, 3)]
    readers.append(replace(READER, limit=2))
    waiting.append(asyncio.ensure_future(shared.predict(request(state(4)))))
    await settle()
    engine.free.set()
    assert await asyncio.gather(*waiting) == [answer(number) for number in range(5)]
    sizes = [len(found["instances"]) if isinstance(found := each.json(), dict) else 1 for each in engine.seen]
    assert sizes == [1, 2, 2]


@pytest.mark.anyio
async def test_coalescer_size_follows_the_registration() -> None:
    engine = GivenEngine()
    engine.free.clear()
    reader = reader_for({**CARD, "request_params": {"coalesce": 2}})
    shared = Coalescer(
        engine,
        CoalesceSettings(enabled=True, max_batch=128, max_delay_ms=1000),
        lambda *_: reader,
        Metrics(),
        NoTracer(),
    )
    waiting = [asyncio.ensure_future(shared.predict(request(state(number)))) for number in range(4)]
    await settle()
    engine.free.set()
    assert await asyncio.gather(*waiting) == [answer(number) for number in range(4)]
    assert [len(json.loads(each.body)["instances"]) for each in engine.seen] == [2, 2]


def test_reader_for_version_registered_alone_is_none() -> None:
    assert reader_for({**CARD, "request_params": {"coalesce": 1}}) is None
    assert reader_for({**CARD, "request_params": {"coalesce": "many"}}) == reader_for(CARD)
