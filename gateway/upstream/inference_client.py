"""The client of one engine host's inference port: one POST per prediction over pooled connections."""

import asyncio
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial

from engines.torchserve.api import explanation_path, prediction_path
from engines.torchserve.auth import KeyRing
from engines.torchserve.error_responses import error_from_response, is_key_refused
from errors import EngineError, Internal, NoWorker, WorkerLost
from gateway.hooks import EngineResponse, PredictionRequest
from gateway.http.body import OCTETS
from gateway.http.forwarded import returned_headers
from gateway.metrics import Metrics
from gateway.tracing import Tracer
from gateway.upstream.connections import ConnectFailedError, ConnectionBrokeError, ConnectionPool, RawResponse
from gateway.upstream.daemon_threads import DaemonThreads
from logs import event

_log = logging.getLogger(__name__)

TOKEN_PAUSE_S = 1.0
KEY_THREADS = 4
WORKER = b"x-worker-pid"
"""The header that only a handler's response has: TorchServe's own errors lack it."""


@dataclass(slots=True)
class _Call:
    """One call to the engine; without a response its status is "lost"."""

    status: str = "lost"


class InferenceClient:
    """Sends predictions to an engine host and returns its responses. `node` names the host among several."""

    def __init__(
        self,
        host: str,
        pool: ConnectionPool,
        keys: KeyRing,
        metrics: Metrics,
        tracer: Tracer,
        node: str | None = None,
    ) -> None:
        self._pool = pool
        self._keys = keys
        self._metrics = metrics
        self._tracer = tracer
        self._node = node
        self._threads = DaemonThreads(KEY_THREADS, "keys")
        self._next_read = 0.0  # of a token, by the event loop's clock
        # The same few models are requested again and again.
        self._request_line = lru_cache(maxsize=1024)(partial(_request_line, host))

    def close(self) -> None:
        """End the threads that read keys; the connections belong to the pool."""
        self._threads.close()

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """Send one prediction. Raises the RequestError that the engine's refusal means.

        That is NoWorker when the engine cannot be reached, and WorkerLost when the connection broke after the request
        was sent.
        """
        token = self._keys.current("inference") or await self._read_token()
        may_renew = True
        while True:
            with self._recorded(request) as call:
                headers = _headers(request, token)
                with self._tracer.call(request.model, request.version, headers) as span:
                    head = self._head(request, headers)
                    connection = await self._pool.acquire()
                    try:
                        response = await connection.post(head, request.body)
                    finally:
                        self._pool.release(connection)
                    call.status = str(response.status)
                    span.answered(response.status, _text(response.headers.get(b"server-timing")))
            if request.kind == "adopted" and WORKER in response.headers:
                return _handler_response(response)  # of any status
            if response.status == 200:
                return _engine_response(response)
            if not is_key_refused(response.status, response.body):
                raise error_from_response(response.status, response.body, request.model)
            # Retry once if there is another token than the one that the engine refused.
            if not (may_renew and await self._threads.run(self._keys.replace, "inference", token)):
                raise NoWorker("the engine does not accept the gateway's key")
            token, may_renew = self._keys.current("inference") or await self._read_token(), False

    async def _read_token(self) -> str | None:
        """Return the token, which the key ring reads or renews in a thread; None when there is none (yet)."""
        now = asyncio.get_running_loop().time()
        if now < self._next_read:
            return None
        try:
            return await self._threads.run(self._keys.token, "inference")
        except EngineError:
            # An engine without tokens: a thread for each of its requests would cost more than the rest of them.
            self._next_read = now + TOKEN_PAUSE_S
            return None

    @contextmanager
    def _recorded(self, request: PredictionRequest) -> Iterator[_Call]:
        """Record one call, and raise what a lost one means to the client."""
        clock = asyncio.get_running_loop().time
        started, call = clock(), _Call()
        try:
            yield call
        except ConnectFailedError as error:
            event(_log, logging.WARNING, "engine_unreachable", reason=str(error))
            raise NoWorker("the engine does not answer") from error
        except ConnectionBrokeError as error:
            event(_log, logging.INFO, "connection_lost", model=request.model, reason=str(error))
            raise WorkerLost("the connection to the engine was lost") from error
        finally:
            # Counted separately: errors of a version on trial say nothing about the serving one.
            status = f"trial {call.status}" if request.trial else call.status
            self._metrics.upstream(request.model, status, clock() - started)
            if self._node is not None:
                self._metrics.node_call(self._node, request.model, status)

    def _head(self, request: PredictionRequest, headers: dict[str, str]) -> bytes:
        lines = [self._request_line(request.model, request.version, request.explain)]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        own = {name.lower().encode() for name in headers} if request.headers else ()
        lines += [
            f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in request.headers if name not in own
        ]
        lines.append(f"Content-Length: {len(request.body)}\r\n\r\n")
        head = "\r\n".join(lines)
        # Business logic may have set the content type or the id; neither may inject a header.
        if head.count("\n") != len(lines) + 2:
            raise Internal("the request's content type or id contains a line break")
        return head.encode("latin-1")


def _request_line(host: str, model: str, version: str | None, explain: bool) -> str:
    """Return request line and Host."""
    path = explanation_path(model, version) if explain else prediction_path(model, version)
    return f"POST {path} HTTP/1.1\r\nHost: {host}"


def _headers(request: PredictionRequest, token: str | None) -> dict[str, str]:
    headers = {"X-Request-Id": request.request_id}
    if request.content_type:
        headers["Content-Type"] = request.content_type
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    if request.deadline < math.inf:
        left = request.deadline - asyncio.get_running_loop().time()
        headers["X-Deadline-Ms"] = str(max(1, int(left * 1000)))
        # A worker cannot know how long a request waited in the engine's queue, so it also gets the absolute deadline.
        headers["X-Deadline-At"] = str(int((time.time() + left) * 1000))
    return headers


def _engine_response(response: RawResponse) -> EngineResponse:
    media_type = response.headers.get(b"content-type", OCTETS.encode()).partition(b";")[0].strip()
    version = _text(response.headers.get(b"x-model-version"))
    return EngineResponse(response.body, media_type.decode("latin-1").lower(), version)


def _handler_response(response: RawResponse) -> EngineResponse:
    """Return the response of an adopted archive's handler, which the client gets unread."""
    version = _text(response.headers.get(b"x-model-version"))
    content_type = _text(response.headers.get(b"content-type")) or ""
    headers = returned_headers(response.headers.items())
    return EngineResponse(response.body, content_type, version, response.status, headers)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
