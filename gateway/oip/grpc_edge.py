"""The outermost layer of gRPC calls: request id, metrics, trace, access log, and what an error becomes."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import grpc

from errors import Internal, RequestError
from gateway.http.body import BodyBudget, full
from gateway.http.context import REQUEST_ID_HEADER, RequestContext, accepted_id
from gateway.metrics import Metrics
from gateway.tracing import SILENT, Tracer
from logs import current_request_id, event

if TYPE_CHECKING:
    from gateway.apikey import ApiKeys

logger = logging.getLogger(__name__)

# What an orchestrator asks without a key.
OPEN = frozenset({"ServerLive", "ServerReady"})

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

current_call: ContextVar[RequestContext] = ContextVar("call")
"""The call that the running task answers; its model is filled in once it is found."""

Call = Callable[[Any, Any], Awaitable[Any]]
Stream = Callable[[Any, Any], AsyncGenerator[Any, None]]


class Edge(grpc.aio.ServerInterceptor):
    """Gives each call its id, turns errors into statuses, and counts."""

    def __init__(
        self, metrics: Metrics, receiving: BodyBudget, keys: "ApiKeys | None", tracer: Tracer, *, access_log: bool
    ) -> None:
        self._metrics = metrics
        self._receiving = receiving
        self._keys = keys
        self._tracer = tracer
        self._access_log = access_log

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """The call's own handler with this layer around it."""
        handler = await continuation(handler_call_details)
        route = handler_call_details.method
        if handler is None:
            return grpc.stream_unary_rpc_method_handler(self._unary(_not_offered(route), ""))
        codec = (handler.request_deserializer, handler.response_serializer)
        if not self._receiving.fits(1):
            # Its message is not read yet, and in a handler of streams nobody reads it.
            return grpc.stream_unary_rpc_method_handler(self._unary(_refused, route), *codec)
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._unary(handler.unary_unary, route), *codec)
        return grpc.stream_stream_rpc_method_handler(self._stream(handler.stream_stream, route), *codec)

    def _unary(self, call: Call, route: str) -> Call:
        async def answered(message: Any, context: Any) -> Any:
            with self._counted(context, route, getattr(message, "id", "")) as counted:
                try:
                    self._admit(context, route)
                    self._hold(counted.call, message)
                    return await call(message, context)
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

        return answered

    def _stream(self, call: Stream, route: str) -> Call:
        # No generator: one whose client left is ended by somebody else later, in another context than its span's.
        async def answered(messages: Any, context: Any) -> None:
            with self._counted(context, route, "") as counted:
                try:
                    self._admit(context, route)
                    async with aclosing(call(messages, context)) as answers:
                        async for answer in answers:
                            await context.write(answer)
                except RequestError as error:
                    counted.status = error.status
                    await context.abort(_CODES.get(error.status, grpc.StatusCode.INTERNAL), error.detail)
                except asyncio.CancelledError:
                    counted.status = CLIENT_GONE
                    raise

        return answered

    @contextmanager
    def _counted(self, context: Any, route: str, own_id: str) -> Iterator["_Counted"]:
        """One call from its beginning to its end."""
        counted = self._begin(context, route, own_id)
        try:
            tracer = SILENT if route.rpartition("/")[2] in OPEN else self._tracer
            with tracer.request("gRPC", counted.call) as span:
                try:
                    yield counted
                finally:
                    span.answered(counted.call, int(counted.status))
        finally:
            self._end(counted)

    def _hold(self, call: RequestContext, message: Any) -> None:
        """Counts a message as held until its call ends. Raises OverCapacity when it is too much."""
        size = message.ByteSize() if hasattr(message, "ByteSize") else 0
        if not self._receiving.take(size):
            raise full()
        call.held = size

    def _admit(self, context: Any, route: str) -> None:
        """Lets calls through that bring an API key, where keys are configured. Raises Unauthorized or RateLimited."""
        if self._keys is not None and route.rpartition("/")[2] not in OPEN:
            sent = dict(context.invocation_metadata() or ())
            self._keys.admit(_text(sent.get("authorization")), _text(sent.get("x-api-key")))

    def _begin(self, context: Any, route: str, own_id: str) -> "_Counted":
        accepted = _taken_id(context, own_id)
        current_request_id.set(accepted)
        call = RequestContext(accepted, asyncio.get_running_loop().time(), route, headers=_headers(context))
        current_call.set(call)
        self._metrics.in_flight.inc()
        return _Counted(call)

    def _end(self, counted: "_Counted") -> None:
        call, status = counted.call, int(counted.status)
        seconds = asyncio.get_running_loop().time() - call.started
        self._receiving.give_back(call.held)
        self._metrics.in_flight.dec()
        self._metrics.request(call.model, call.route or "unmatched", status, seconds)
        if self._access_log:
            told: dict[str, Any] = {
                "path": call.route,
                "model": call.model,
                "status": status,
                "ms": round(seconds * 1000, 3),
            }
            event(logger, logging.INFO, "request", method="gRPC", **told)


@dataclass(slots=True)
class _Counted:
    """One call and how it ended."""

    call: RequestContext
    status: int = HTTPStatus.OK


class NotOffered(RequestError):
    """A call that the gateway does not serve: of another extension or of another service."""

    status, code = 501, "not_offered"


def _not_offered(method: str) -> Call:
    async def refuse(_: Any, __: Any) -> None:
        name = method.rpartition("/")[2][:80]
        raise NotOffered(f"{name} is not offered here; ServerMetadata lists the extensions that are")

    return refuse


async def _refused(_: Any, __: Any) -> None:
    raise full()


def _headers(context: Any) -> list[tuple[bytes, bytes]]:
    """A call's metadata in the form of HTTP's headers; values that are no text are left out."""
    sent = context.invocation_metadata() or ()
    return [(name.encode(), value.encode()) for name, value in sent if isinstance(value, str)]


def _text(value: str | bytes | None) -> str | None:
    return value if isinstance(value, str) else None


def _taken_id(context: Any, own: str) -> str:
    """The id in the metadata, else the request's own, else a new one; sent back with the status."""
    name = REQUEST_ID_HEADER.decode()
    offered = dict(context.invocation_metadata() or ()).get(name, own)
    accepted = accepted_id(offered if isinstance(offered, str) and offered else None)
    context.set_trailing_metadata(((name, accepted),))
    return accepted
