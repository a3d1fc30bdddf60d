"""The streams of gRPC: the order and the errors of the inferences in each."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from errors import RequestError
from gateway.oip import open_inference_pb2 as pb
from logs import log_task_error

logger = logging.getLogger(__name__)

# Further requests of one stream wait in its connection, which slows the client down.
STREAM_REQUESTS = 16


class InferStreams:
    """All open streams. Each runs several inferences at once and answers them in the order of the requests."""

    def __init__(self, answer: Callable[[pb.ModelInferRequest], Awaitable[pb.ModelStreamInferResponse]]) -> None:
        self._answer = answer
        self._readers: set[asyncio.Task[None]] = set()

    async def answers(
        self, messages: AsyncIterator[pb.ModelInferRequest]
    ) -> AsyncGenerator[pb.ModelStreamInferResponse, None]:
        """Yield the responses to a stream of requests."""
        started: _Started = asyncio.Queue()
        slots = asyncio.Semaphore(STREAM_REQUESTS)
        reader = asyncio.create_task(self._read(messages, started, slots))
        reader.add_done_callback(log_task_error)
        self._readers.add(reader)
        current: asyncio.Task[pb.ModelStreamInferResponse] | None = None
        try:
            while (current := await started.get()) is not None:
                yield await current
                slots.release()
        finally:
            # A client that left does not wait for the remaining responses.
            self._readers.discard(reader)
            reader.cancel()
            for task in (current, *_left(started)):
                if task is not None:
                    task.cancel()

    def close(self) -> None:
        """Stop reading; each stream ends once the requests read so far are answered."""
        for reader in self._readers:
            reader.cancel()

    async def _read(
        self, messages: AsyncIterator[pb.ModelInferRequest], started: "_Started", slots: asyncio.Semaphore
    ) -> None:
        try:
            # The wait is before the message, because a cancelled reader must not hold a task that is not in the queue.
            await slots.acquire()
            async for message in messages:
                task = asyncio.create_task(self._answer_or_error(message))
                task.add_done_callback(log_task_error)
                started.put_nowait(task)
                await slots.acquire()
        finally:
            started.put_nowait(None)

    async def _answer_or_error(self, message: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
        try:
            return await self._answer(message)
        except RequestError as error:
            text = error.detail
        except Exception:
            # The edge of the process: one inference that fails must not end the others of its stream.
            logger.exception("unexpected_error", extra={"fields": {"path": "ModelStreamInfer"}})
            text = "the gateway failed on this request"
        failed = pb.ModelInferResponse(model_name=message.model_name, id=message.id)
        return pb.ModelStreamInferResponse(error_message=text, infer_response=failed)


_Started = asyncio.Queue[asyncio.Task[pb.ModelStreamInferResponse] | None]


def _left(started: _Started) -> list[asyncio.Task[pb.ModelStreamInferResponse] | None]:
    left = []
    while not started.empty():
        left.append(started.get_nowait())
    return left
