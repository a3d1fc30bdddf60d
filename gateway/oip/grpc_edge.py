"""The outermost layer of gRPC calls: request id, metrics, access log, and what an error becomes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Any

import grpc

from errors import Internal, RequestError
from gateway import request_id
from gateway.logs import current_request_id, event
from gateway.metrics import Metrics

logger = logging.getLogger(__name__)

# nginx' number for a client that closed the connection; it is counted, never sent.
CLIENT_GONE = 499
# Triton's own choice for what its configuration does not allow is UNAVAILABLE.
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.UNAVAILABLE,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

Call = Callable[[Any, Any], Awaitable[Any]]
Stream = Callable[[Any, Any], AsyncIterator[Any]]


class Edge(grpc.aio.ServerInterceptor):
    """Gives each call its id, turns errors into statuses, and counts."""

    def __init__(self, metrics: Metrics, *, access_log: bool) -> None:
        self._metrics = metrics
        self._access_log = access_log

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """The call's own handler with this layer around it."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        codec = (handler.request_deserializer, handler.response_serializer)
        route = handler_call_details.method
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._unary(handler.unary_unary, route), *codec)
        return grpc.stream_stream_rpc_method_handler(self._stream(handler.stream_stream, route), *codec)

    def _unary(self, call: Call, route: str) -> Call:
        async def answered(message: Any, context: Any) -> Any:
            counted = _Counted(self._metrics, route, getattr(message, "model_name", ""))
            _take_id(context, getattr(message, "id", ""))
            try:
                answer = await call(message, context)
            except RequestError as error:
                counted.status = error.status
                await context.abort(_CODES.get(error.status, grpc.StatusCode.INTERNAL), error.detail)
            except asyncio.CancelledError:
                counted.status = CLIENT_GONE
                raise
            except Exception:
                # The edge of the process: a client gets a status and no stack trace, whatever broke.
                counted.status = Internal.status
                logger.exception("unexpected_error", extra={"fields": {"path": route}})
                await context.abort(grpc.StatusCode.INTERNAL, "something in the gateway broke")
            finally:
                counted.end(access_log=self._access_log)
            return answer

        return answered

    def _stream(self, call: Stream, route: str) -> Stream:
        async def answered(messages: Any, context: Any) -> AsyncIterator[Any]:
            counted = _Counted(self._metrics, route, "")
            _take_id(context, "")
            try:
                async for answer in call(messages, context):
                    yield answer
            except (asyncio.CancelledError, GeneratorExit):
                counted.status = CLIENT_GONE
                raise
            finally:
                counted.end(access_log=self._access_log)

        return answered


class _Counted:
    """One call from its start to its end."""

    def __init__(self, metrics: Metrics, route: str, model: str) -> None:
        self._metrics, self._route, self._typed_model = metrics, route, model
        self._started = asyncio.get_running_loop().time()
        self.status: int = HTTPStatus.OK
        metrics.in_flight.inc()

    def end(self, *, access_log: bool) -> None:
        """Counts the call; a name that a client merely typed is none of a model."""
        seconds = asyncio.get_running_loop().time() - self._started
        model = self._typed_model if self.status == HTTPStatus.OK else ""
        self._metrics.in_flight.dec()
        self._metrics.request(model, self._route, self.status, seconds)
        if access_log:
            ms, status = round(seconds * 1000, 3), int(self.status)
            event(logger, logging.INFO, "request", method="gRPC", path=self._route, model=model, status=status, ms=ms)


def _take_id(context: Any, own: str) -> None:
    """The id in the metadata, else the request's own, else a new one; sent back before the answer."""
    offered = dict(context.invocation_metadata() or ()).get(request_id.HEADER.decode(), own)
    accepted = request_id.accepted(offered if isinstance(offered, str) and offered else None)
    current_request_id.set(accepted)
    context.set_trailing_metadata(((request_id.HEADER.decode(), accepted),))
