"""Full streams of gRPC: requests that wait for a slot when the server stops or the client leaves."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.oip import open_inference_pb2 as pb
from gateway.oip.infer_streams import STREAM_REQUESTS, InferStreams
from tests.gateway.stage_parts import settle

pytestmark = pytest.mark.anyio


class FullStream:
    """A stream whose client sends more requests than it has slots, and whose engine answers after `release`."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.under_way: set[str] = set()
        self.streams = InferStreams(self._answer)
        self.answers = self.streams.answers(self._messages())
        self._free = asyncio.Event()

    def release(self) -> None:
        """Let the engine answer everything."""
        self._free.set()

    async def _messages(self) -> AsyncIterator[pb.ModelInferRequest]:
        for number in range(3 * STREAM_REQUESTS):
            yield pb.ModelInferRequest(id=str(number))

    async def _answer(self, message: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
        self.started.append(message.id)
        self.under_way.add(message.id)
        try:
            await self._free.wait()
        finally:
            self.under_way.discard(message.id)
        return pb.ModelStreamInferResponse(infer_response=pb.ModelInferResponse(id=message.id))


async def test_close_full_stream_answers_every_request_that_started() -> None:
    stream = FullStream()

    async def answered() -> list[str]:
        return [each.infer_response.id async for each in stream.answers]

    reader = asyncio.create_task(answered())
    await settle()
    assert len(stream.under_way) == STREAM_REQUESTS
    stream.streams.close()
    await settle()
    stream.release()
    assert await reader == stream.started


async def test_client_leaves_full_stream_no_inference_goes_on() -> None:
    stream = FullStream()
    reader = asyncio.create_task(anext(stream.answers))
    await settle()
    assert stream.under_way
    reader.cancel()
    await settle()
    assert stream.under_way == set()


async def test_stream_longer_than_its_slots_is_answered_in_order() -> None:
    stream = FullStream()
    stream.release()
    answers = [each.infer_response.id async for each in stream.answers]
    assert answers == [str(number) for number in range(3 * STREAM_REQUESTS)]
