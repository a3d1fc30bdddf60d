"""Inferences over a stream: several under way at once, answered in the order in which they came."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

from errors import RequestError
from gateway.oip import open_inference_pb2 as pb
from logs import log_task_error

logger = logging.getLogger(__name__)

# More of one stream than this wait in its connection, which slows the client down.
UNDER_WAY = 16

Answer = Callable[[Any], Awaitable[Any]]


class Streams:
    """All open streams; `close` ends them once what they sent so far is answered."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._readers: set[asyncio.Task[None]] = set()

    async def answers(self, messages: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
        """The answers to a stream of messages."""
        started: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue(UNDER_WAY)
        reader = asyncio.create_task(self._read(messages, started))
        reader.add_done_callback(log_task_error)
        self._readers.add(reader)
        current: asyncio.Task[Any] | None = None
        try:
            while (current := await started.get()) is not None:
                yield await current
        finally:
            # The client may be gone with answers still to come: nobody waits for them any more.
            self._readers.discard(reader)
            for task in (reader, current, *_left(started)):
                if task is not None:
                    task.cancel()

    def close(self) -> None:
        """Reads nothing more from any stream."""
        for reader in self._readers:
            reader.cancel()

    async def _read(self, messages: AsyncIterator[Any], started: "asyncio.Queue[asyncio.Task[Any] | None]") -> None:
        try:
            async for message in messages:
                task = asyncio.create_task(self._told(message))
                task.add_done_callback(log_task_error)
                await started.put(task)
        finally:
            await started.put(None)

    async def _told(self, message: Any) -> Any:
        """The answer, or in its place what went wrong: the stream goes on."""
        try:
            return await self._answer(message)
        except RequestError as error:
            words = error.detail
        except Exception:
            # The edge of the process: one inference that breaks must not end the others of its stream.
            logger.exception("unexpected_error", extra={"fields": {"path": "ModelStreamInfer"}})
            words = "something in the gateway broke"
        failed = pb.ModelInferResponse(model_name=message.model_name, id=message.id)
        return pb.ModelStreamInferResponse(error_message=words, infer_response=failed)


def _left(started: "asyncio.Queue[asyncio.Task[Any] | None]") -> list[asyncio.Task[Any] | None]:
    left = []
    while not started.empty():
        left.append(started.get_nowait())
    return left
