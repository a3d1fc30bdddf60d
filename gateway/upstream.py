"""The engine's inference port: one POST per prediction over pooled connections."""

import asyncio
import logging
import math
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

import aiohttp
from yarl import URL

from errors import NoWorker, WorkerLost
from gateway.engine import EngineAnswer
from gateway.hooks import PredictionRequest
from gateway.keys import KeyRing
from gateway.logs import event
from gateway.metrics import Metrics
from gateway.tracing import Tracer
from gateway.verdicts import key_refused, refusal

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    answer: EngineAnswer


class Upstream:
    """Sends predictions to the engine and returns what it answers."""

    def __init__(
        self, url: str, session: aiohttp.ClientSession, keys: KeyRing, metrics: Metrics, tracer: Tracer
    ) -> None:
        self._url = url
        self._session = session
        self._keys = keys
        self._metrics = metrics
        self._tracer = tracer

    async def predict(self, request: PredictionRequest) -> EngineAnswer:
        """One prediction. Raises the RequestError that the engine's refusal means.

        That is NoWorker when the engine is not there, WorkerLost when it was lost on the way.
        """
        token = await self._keys.token("inference")
        reply = await self._timed(request, token)
        if key_refused(reply.status, reply.answer.body):
            if not await self._keys.replaced("inference", token):
                raise NoWorker("the engine does not accept the gateway's key")
            reply = await self._timed(request, await self._keys.token("inference"))
            if key_refused(reply.status, reply.answer.body):
                raise NoWorker("the engine does not accept the gateway's key")
        if reply.status != 200:
            raise refusal(reply.status, reply.answer.body, request.model)
        return reply.answer

    async def _timed(self, request: PredictionRequest, token: str | None) -> _Reply:
        clock = asyncio.get_running_loop().time
        started, status = clock(), "lost"
        try:
            reply = await self._sent(request, token)
            status = str(reply.status)
        finally:
            self._metrics.upstream(request.model, status, clock() - started)
        return reply

    async def _sent(self, request: PredictionRequest, token: str | None) -> _Reply:
        try:
            return await self._post(request, token)
        except (aiohttp.ClientConnectorError, TimeoutError) as error:
            event(_log, logging.WARNING, "engine_unreachable", reason=type(error).__name__)
            raise NoWorker("the engine does not answer") from error
        except aiohttp.ClientError as error:
            event(_log, logging.INFO, "connection_lost", model=request.model, reason=type(error).__name__)
            raise WorkerLost("the connection to the engine was lost") from error

    async def _post(self, request: PredictionRequest, token: str | None) -> _Reply:
        headers = {"Content-Type": request.content_type, "X-Request-Id": request.request_id}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if request.deadline < math.inf:
            left = request.deadline - asyncio.get_running_loop().time()
            headers["X-Deadline-Ms"] = str(max(1, int(left * 1000)))
        url = _url(self._url, request.model, request.version)
        with self._tracer.call(request.model, headers):
            async with self._session.post(url, data=request.body, headers=headers) as response:
                body = await response.read()
        answer = EngineAnswer(body, response.content_type, response.headers.get("x-model-version"))
        return _Reply(response.status, answer)


@lru_cache(maxsize=1024)
def _url(base: str, model: str, version: str | None) -> URL:
    path = f"/predictions/{quote(model, safe='')}"
    return URL(base + (path if version is None else f"{path}/{quote(version, safe='')}"), encoded=True)
