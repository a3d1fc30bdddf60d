"""Tasks that nobody waits for: what ends one is one line in the log, and whoever depends on it goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from errors import Internal, NoWorker
from gateway.catalog import Catalog
from gateway.hooks import EngineResponse
from gateway.http.deadline import Disconnect, watching
from gateway.oip import open_inference_pb2 as pb
from gateway.oip.infer_streams import InferStreams
from gateway.served_models import ServedModel
from gateway.upstream.connections import Connection
from tests.gateway.stage_parts import GivenEngine, answer, request, settle
from tests.gateway.test_balancer import fleet
from tests.gateway.test_coalesce import coalescer, state
from tests.gateway.trial_parts import TRIAL, Setting

pytestmark = pytest.mark.anyio


def broken(*_: Any) -> Any:
    raise ZeroDivisionError("unforeseen")


async def until(done: Callable[[], bool]) -> None:
    """Gives way to others until it is so."""
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("count", [1, 3])
async def test_a_batch_that_breaks_on_the_unforeseen_is_logged_and_its_members_are_told(
    said: Callable[[], list[str]], count: int
) -> None:
    engine = GivenEngine()
    engine.fail = broken
    shared = coalescer(engine)
    asked = (shared.predict(request(state(number))) for number in range(count))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(each) for each in answers] == [Internal] * count
    del answers
    await settle()
    assert said() == ["task_failed"]
    engine.fail = lambda _: None
    assert await shared.predict(request(state(1))) == answer(1)


async def test_a_look_that_breaks_on_the_unforeseen_is_logged_and_the_engine_is_not_known(
    said: Callable[[], list[str]],
) -> None:
    async def look() -> Mapping[str, ServedModel]:
        return broken()  # type: ignore[no-any-return]

    catalog = Catalog(look, ttl_s=60)
    with pytest.raises(NoWorker):
        await catalog.current()
    await settle()
    assert said() == ["task_failed"]


async def test_a_check_of_a_host_that_breaks_on_the_unforeseen_is_logged_and_comes_again(
    said: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = await fleet()
    broke = asyncio.Event()

    async def check() -> None:
        broke.set()
        broken()

    with monkeypatch.context() as patched:
        patched.setattr("gateway.upstream.balancer.EngineHost.check", lambda _: check())
        hosts.nodes.start()
        await asyncio.wait_for(broke.wait(), 30)
    hosts.a.up = False
    await until(lambda: not hosts.a.node.in_traffic)
    await hosts.nodes.close()
    assert "node_check_failed" in said()
    assert not any("never retrieved" in line for line in said())


async def test_a_copy_whose_answer_cannot_be_compared_differs(said: Callable[[], list[str]], tmp_path: Path) -> None:
    class Odd(GivenEngine):
        async def predict(self, request: Any) -> EngineResponse:
            chance = b'"most"' if request.version == TRIAL else b"0.5"
            body = b'{"predictions": [{"label": "7", "probabilities": {"7": ' + chance + b"}}]}"
            return EngineResponse(body, "application/json", "1.0")

    setting = Setting(tmp_path, Odd(), weight=0.0, copies=1.0)
    await setting.traffic.predict(request([1]))
    await until(lambda: not setting.shadow._under_way)
    assert setting.count("shadow_total", version=TRIAL, result="differs") == 1
    assert said() == []


async def test_a_copy_that_breaks_on_the_unforeseen_is_logged(said: Callable[[], list[str]], tmp_path: Path) -> None:
    class Odd(GivenEngine):
        async def predict(self, request: Any) -> EngineResponse:
            return broken() if request.version == TRIAL else answer(1)

    setting = Setting(tmp_path, Odd(), weight=0.0, copies=1.0)
    assert await setting.traffic.predict(request([1])) == answer(1)
    await settle()
    assert said() == ["task_failed"]


async def test_a_stream_whose_messages_end_in_an_error_ends_and_is_logged(said: Callable[[], list[str]]) -> None:
    async def messages() -> AsyncIterator[pb.ModelInferRequest]:
        yield pb.ModelInferRequest(id="1")
        broken()

    async def same(message: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
        return pb.ModelStreamInferResponse(infer_response=pb.ModelInferResponse(id=message.id))

    answers = [each.infer_response.id async for each in InferStreams(same).answers(messages())]
    assert answers == ["1"]
    await settle()
    assert said() == ["task_failed"]


async def test_a_client_that_cannot_be_watched_is_logged(said: Callable[[], list[str]]) -> None:
    async def receive() -> Any:
        return broken()

    with watching({}, receive, Disconnect()):
        await settle()
    assert said() == ["task_failed"]


async def test_a_connection_that_breaks_while_it_is_written_to_leaves_no_unread_error(
    said: Callable[[], list[str]],
) -> None:
    class Closed(asyncio.Transport):
        def is_closing(self) -> bool:
            return False

        def abort(self) -> None:
            pass

        def writelines(self, _: Any) -> None:
            broken()

    made = Connection(lambda _: None)
    made.connection_made(Closed())
    with pytest.raises(ZeroDivisionError):
        await made.post(b"head", b"body")
    made.connection_lost(ConnectionResetError())
    del made
    assert said() == []
