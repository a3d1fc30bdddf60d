"""The outermost layer of gRPC calls: request id, API key, body budget, metrics, trace, access log, and errors."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import grpc

from errors import Internal, NotSupported, RequestError
from gateway.http.backoff import PROXIED
from gateway.http.body import BodyBudget, budget_full
from gateway.http.context import REQUEST_ID_HEADER, RequestContext, accepted_id
from gateway.middleware import CLIENT_GONE, Recording, RequestRecorder
from gateway.security import is_loopback

if TYPE_CHECKING:
    from gateway.apikey import ApiKeys

logger = logging.getLogger(__name__)

# Orchestrators make these calls without a key.
OPEN_CALLS = frozenset({"ServerLive", "ServerReady", "Check", "List", "Watch"})

# Triton itself answers UNAVAILABLE for calls that its configuration forbids.
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

current_call: ContextVar[RequestContext] = ContextVar("call")
"""The call that the current task answers; the servicer fills in its model."""

is_local_call: ContextVar[bool] = ContextVar("is_local_call")
"""True when the call comes from a client on this machine; one behind a proxy on this machine is not."""

UnaryCall = Callable[[Any, Any], Awaitable[Any]]
StreamCall = Callable[[Any, Any], AsyncGenerator[Any, None]]


class RequestInterceptor(grpc.aio.ServerInterceptor):
    """Gives each call its id, turns errors into statuses, and counts."""

    def __init__(self, recorder: RequestRecorder, budget: BodyBudget, keys: "ApiKeys | None") -> None:
        self._recorder = recorder
        self._budget = budget
        self._keys = keys

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Return the call's own handler with this layer around it."""
        handler = await continuation(handler_call_details)
        path: str = handler_call_details.method
        if handler is None:
            return grpc.stream_unary_rpc_method_handler(self._unary(_not_offered(path), path, ""))
        codec = (handler.request_deserializer, handler.response_serializer)
        if not self._budget.fits(1):
            # Its message is still unread, and a stream handler that reads none leaves it unread.
            return grpc.stream_unary_rpc_method_handler(self._unary(_refuse, path, path), *codec)
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._unary(handler.unary_unary, path, path), *codec)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(self._stream(handler.unary_stream, path), *codec)
        return grpc.stream_stream_rpc_method_handler(self._stream(handler.stream_stream, path), *codec)

    def _unary(self, call: UnaryCall, path: str, route: str) -> UnaryCall:
        async def answer(message: Any, context: Any) -> Any:
            with self._recorded(context, path, route, getattr(message, "id", "")) as (call_context, recording):
                try:
                    self._check_key(context, path)
                    self._hold(call_context, message)
                    return await call(message, context)
                except RequestError as error:
                    recording.status = error.status
                    await context.abort(_CODES.get(error.status, grpc.StatusCode.INTERNAL), error.detail)
                except asyncio.CancelledError:
                    recording.status = CLIENT_GONE
                    raise
                except Exception:
                    # The edge of the process: whatever fails, the client gets a status without a stack trace.
                    recording.status = Internal.status
                    logger.exception("unexpected_error", extra={"fields": {"path": path}})
                    await context.abort(grpc.StatusCode.INTERNAL, "the gateway failed on this request")

        return answer

    def _stream(self, call: StreamCall, path: str) -> UnaryCall:
        # Not a generator: when a client leaves, gRPC closes the generator later and outside the span's context.
        async def answer(messages: Any, context: Any) -> None:
            with self._recorded(context, path, path, "") as (_, recording):
                try:
                    self._check_key(context, path)
                    async with aclosing(call(messages, context)) as answers:
                        async for each in answers:
                            await context.write(each)
                except RequestError as error:
                    recording.status = error.status
                    await context.abort(_CODES.get(error.status, grpc.StatusCode.INTERNAL), error.detail)
                except asyncio.CancelledError:
                    recording.status = CLIENT_GONE
                    raise

        return answer

    @contextmanager
    def _recorded(self, context: Any, path: str, route: str, own_id: str) -> Iterator[tuple[RequestContext, Recording]]:
        """Record one call from its beginning to its end; `route` is empty for a call that the gateway does not know."""
        started = asyncio.get_running_loop().time()
        call = RequestContext(_request_id(context, own_id), started, route, headers=_headers(context))
        current_call.set(call)
        is_local_call.set(_is_local(context, call))
        with self._recorder.record("gRPC", path, call, traced=_name(path) not in OPEN_CALLS) as recording:
            recording.status = HTTPStatus.OK
            yield call, recording

    def _hold(self, call: RequestContext, message: Any) -> None:
        """Count a message as held until its call ends. Raises OverCapacity when it exceeds the budget."""
        size = message.ByteSize() if hasattr(message, "ByteSize") else 0
        if not self._budget.take(size):
            raise budget_full()
        call.held = size

    def _check_key(self, context: Any, path: str) -> None:
        """Require an API key where keys are configured. Raises Unauthorized or RateLimited."""
        if self._keys is not None and _name(path) not in OPEN_CALLS:
            metadata = dict(context.invocation_metadata() or ())
            self._keys.admit(_text(metadata.get("authorization")), _text(metadata.get("x-api-key")))


def _not_offered(path: str) -> UnaryCall:
    async def refuse(_: Any, __: Any) -> None:
        raise NotSupported(f"{_name(path)[:80]} is not offered here; ServerMetadata lists the extensions that are")

    return refuse


async def _refuse(_: Any, __: Any) -> None:
    raise budget_full()


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _headers(context: Any) -> list[tuple[bytes, bytes]]:
    """Return a call's metadata in the form of HTTP headers, without binary values."""
    metadata = context.invocation_metadata() or ()
    return [(name.encode(), value.encode()) for name, value in metadata if isinstance(value, str)]


def _is_local(context: Any, call: RequestContext) -> bool:
    transport, _, address = context.peer().partition(":")
    if any(name in PROXIED for name, _ in call.headers):
        return False
    return transport == "unix" or is_loopback(unquote(address).rpartition(":")[0].strip("[]"))


def _text(value: str | bytes | None) -> str | None:
    return value if isinstance(value, str) else None


def _request_id(context: Any, own_id: str) -> str:
    """Return the id in the metadata, else the request's own, else a new one; it is sent back with the status."""
    name = REQUEST_ID_HEADER.decode()
    offered = dict(context.invocation_metadata() or ()).get(name, own_id)
    accepted = accepted_id(offered if isinstance(offered, str) and offered else None)
    context.set_trailing_metadata(((name, accepted),))
    return accepted
