"""The engine's inference port: one POST per prediction over pooled connections."""

import asyncio
import logging
import math
import time
from dataclasses import dataclass
from functools import lru_cache, partial

from engines.torchserve.api import prediction_path
from engines.torchserve.auth import KeyRing
from engines.torchserve.responses import error_from_response, is_key_refused
from errors import EngineError, Internal, NoWorker, WorkerLost
from gateway.hooks import EngineResponse, PredictionRequest
from gateway.http.body import OCTETS
from gateway.metrics import Metrics
from gateway.tracing import Tracer
from gateway.upstream.connections import ConnectFailedError, ConnectionBrokeError, Pool
from logs import event

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    answer: EngineResponse


class InferenceClient:
    """Sends predictions to the engine and returns what it answers."""

    def __init__(
        self,
        host: str,
        pool: Pool,
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
        # A few models are asked again and again.
        self._opening = lru_cache(maxsize=1024)(partial(_opening, host))

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """One prediction. Raises the RequestError that the engine's refusal means.

        That is NoWorker when the engine is not there, WorkerLost when it was lost on the way.
        """
        token = self._keys.current("inference") or await self._read_token()
        reply = await self._timed(request, token)
        if reply.status != 200 and is_key_refused(reply.status, reply.answer.body):
            reply = await self._with_other_token(request, token)
        if reply.status != 200:
            raise error_from_response(reply.status, reply.answer.body, request.model)
        return reply.answer

    async def _read_token(self) -> str | None:
        """Return the token, which the key ring reads or renews in a thread; None when there is none (yet)."""
        try:
            return await asyncio.to_thread(self._keys.token, "inference")
        except EngineError:
            return None

    async def _with_other_token(self, request: PredictionRequest, refused: str | None) -> _Reply:
        """Send once more after the engine refused the token."""
        if await asyncio.to_thread(self._keys.replace, "inference", refused):
            reply = await self._timed(request, self._keys.current("inference") or await self._read_token())
            if not is_key_refused(reply.status, reply.answer.body):
                return reply
        raise NoWorker("the engine does not accept the gateway's key")

    async def _timed(self, request: PredictionRequest, token: str | None) -> _Reply:
        clock = asyncio.get_running_loop().time
        started, status = clock(), "lost"
        try:
            reply = await self._sent(request, token)
            status = str(reply.status)
        finally:
            # Apart from the others: what a version under trial gets wrong does not speak against the one that serves.
            told = f"trial {status}" if request.trial else status
            self._metrics.upstream(request.model, told, clock() - started)
            if self._node is not None:
                self._metrics.node_call(self._node, request.model, told)
        return reply

    async def _sent(self, request: PredictionRequest, token: str | None) -> _Reply:
        try:
            return await self._post(request, token)
        except ConnectFailedError as error:
            event(_log, logging.WARNING, "engine_unreachable", reason=str(error))
            raise NoWorker("the engine does not answer") from error
        except ConnectionBrokeError as error:
            event(_log, logging.INFO, "connection_lost", model=request.model, reason=str(error))
            raise WorkerLost("the connection to the engine was lost") from error

    async def _post(self, request: PredictionRequest, token: str | None) -> _Reply:
        headers = {"Content-Type": request.content_type, "X-Request-Id": request.request_id}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if request.deadline < math.inf:
            left = request.deadline - asyncio.get_running_loop().time()
            headers["X-Deadline-Ms"] = str(max(1, int(left * 1000)))
            # A worker does not know how long a request stood in the engine's queue, but it knows the time.
            headers["X-Deadline-At"] = str(int((time.time() + left) * 1000))
        with self._tracer.call(request.model, request.version, headers) as span:
            lines = [self._opening(request.model, request.version)]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            lines.append(f"Content-Length: {len(request.body)}\r\n\r\n")
            answer = await self._pool.post(_head(lines), request.body)
            span.answered(answer.status, _text(answer.headers.get(b"server-timing")))
        media_type = answer.headers.get(b"content-type", OCTETS.encode()).partition(b";")[0].strip()
        version = _text(answer.headers.get(b"x-model-version"))
        return _Reply(answer.status, EngineResponse(answer.body, media_type.decode("latin-1").lower(), version))


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _head(lines: list[str]) -> bytes:
    # Business logic may have set the content type or the id: no value of theirs becomes a header of its own.
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) + 2:
        raise Internal("a line break stands in the request's content type or id")
    return head.encode("latin-1")


def _opening(host: str, model: str, version: str | None) -> str:
    """Request line and Host."""
    return f"POST {prediction_path(model, version)} HTTP/1.1\r\nHost: {host}"
