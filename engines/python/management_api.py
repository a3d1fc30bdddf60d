"""TorchServe's Management API over the manager, and the metrics beside it; every route but those needs its key."""

import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from engines.python.frontend_metrics import exposition
from engines.python.manager import ModelManager, RegistrationRequest, Replica
from engines.python.messages import (
    BadRequestException,
    ErrorResponse,
    InternalServerException,
    InvalidKeyException,
    MethodNotAllowedException,
    ResourceNotFoundException,
    ServiceUnavailableException,
)
from engines.python.registry import RegisteredVersion
from engines.python.tokens import KeyFile, Kind, TokenSigner, bearer

log = logging.getLogger(__name__)

PAGE_SIZE = 100
METADATA_S = 5.0

RouteFunction = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class ManagementApi:
    """The routes of the Management API, and those of the metrics.

    `job_queue_size` and `response_timeout_s` come from the settings. A placement raises one of `placement_errors` while
    it cannot be reached.
    """

    manager: ModelManager
    signer: TokenSigner
    key_file: KeyFile
    job_queue_size: int
    response_timeout_s: int
    placement_errors: tuple[type[Exception], ...] = ()

    def application(self) -> Starlette:
        """Return the ASGI application of the management port."""
        version = "/models/{model}/{version}"
        routes = [
            Route("/ping", _ping),
            Route("/token", self._renew),
            Route("/models", self._with_key(self._list), methods=["GET"]),
            Route("/models", self._with_key(self._register), methods=["POST"]),
            Route(f"{version}/set-default", self._with_key(self._set_default), methods=["PUT"]),
            Route("/models/{model}/all", self._with_key(self._describe_all), methods=["GET"]),
        ]
        for path in (version, "/models/{model}"):
            routes += [
                Route(path, self._with_key(self._describe), methods=["GET"]),
                Route(path, self._with_key(self._scale), methods=["PUT"]),
                Route(path, self._with_key(self._unregister), methods=["DELETE"]),
            ]
        return self._with_routes(routes)

    def metrics(self) -> Starlette:
        """Return the ASGI application of the metrics port."""
        return self._with_routes([Route("/metrics", self._metrics)])

    def _with_routes(self, routes: Sequence[Route]) -> Starlette:
        unavailable = dict.fromkeys(self.placement_errors, _placement_lost)
        handlers = {ErrorResponse: _error_response, HTTPException: _not_routed, **unavailable}
        return Starlette(routes=routes, exception_handlers=handlers)

    def _with_key(self, route: RouteFunction) -> RouteFunction:
        async def guarded(request: Request) -> Response:
            self._check(request, "management")
            return await route(request)

        return guarded

    def _check(self, request: Request, kind: Kind) -> None:
        if not self.signer.accepts(kind, bearer(request.headers.get("authorization", "")), time.time()):
            raise InvalidKeyException

    async def _renew(self, request: Request) -> Response:
        self._check(request, "API")
        kinds: dict[str, Kind] = {"management": "management", "inference": "inference"}
        kind = kinds.get(request.query_params.get("type", ""))
        if kind is None:
            raise BadRequestException("type must be management or inference")
        self.key_file.renew((kind,), time.time())
        return JSONResponse({"status": f"{kind} key is renewed"})

    async def _list(self, request: Request) -> Response:
        start = _integer(request, "next_page_token", 0)
        limit = min(PAGE_SIZE, _integer(request, "limit", PAGE_SIZE, 1))
        registry = self.manager.registry
        names = registry.models()
        entries = [(name, registry.find(name, None)) for name in names[start : start + limit]]
        answer: dict[str, Any] = {
            "models": [{"modelName": name, "modelUrl": each.registration.url} for name, each in entries if each]
        }
        if start + limit < len(names):
            answer["nextPageToken"] = str(start + limit)
        return JSONResponse(answer)

    async def _register(self, request: Request) -> Response:
        query = request.query_params
        if not query.get("url"):
            raise BadRequestException("Parameter url is required.")
        wanted = RegistrationRequest(
            url=query["url"],
            model=query.get("model_name") or None,
            handler=query.get("handler") or None,
            sha256=query.get("sha256") or None,
            batch_size=_integer(request, "batch_size", 1, 1),
            max_batch_delay=_integer(request, "max_batch_delay", 100),
            response_timeout_s=_integer(request, "response_timeout", self.response_timeout_s, 1),
            workers=_integer(request, "initial_workers", 0),
        )
        made = await run_in_threadpool(self.manager.register, wanted)
        status = f'Model "{made.model}" Version: {made.version} registered with {wanted.workers} initial workers'
        more = "" if wanted.workers else ". Use scale workers API to add workers for the model."
        return JSONResponse({"status": status + more})

    async def _scale(self, request: Request) -> Response:
        model, version = _model_and_version(request)
        registration = self.manager.find(model, version).registration
        least = _integer(request, "min_worker", 1)
        most = _integer(request, "max_worker", least)
        if most < least:
            raise BadRequestException("max_worker cannot be less than min_worker.")
        change = (model, registration.version, least, most)
        if request.query_params.get("synchronous", "").lower() != "true":
            after = BackgroundTask(self._scale_later, *change)
            return JSONResponse({"status": "Processing worker updates..."}, 202, background=after)
        await run_in_threadpool(self.manager.scale, *change)
        status = f"Workers scaled to {least} for model: {registration.model}, version: {registration.version}"
        return JSONResponse({"status": status})

    def _scale_later(self, model: str, version: str, least: int, most: int) -> None:
        """Scale after the response; log a failure, because nobody waits for it."""
        try:
            self.manager.scale(model, version, least, most)
        except ErrorResponse as error:
            log.warning("%s %s is not scaled: %s", model, version, error)

    async def _set_default(self, request: Request) -> Response:
        model, version = _model_and_version(request)
        await run_in_threadpool(self.manager.set_default, model, str(version))
        status = f'Default version successfully updated for model "{model}" to "{version}"'
        return JSONResponse({"status": status})

    async def _unregister(self, request: Request) -> Response:
        model, version = _model_and_version(request)
        await run_in_threadpool(self.manager.remove, model, version)
        return JSONResponse({"status": f'Model "{model}" unregistered'})

    async def _describe(self, request: Request) -> Response:
        entry = self.manager.find(*_model_and_version(request))
        [found] = await self._descriptions((entry,))
        if request.query_params.get("customized", "").lower() == "true":
            found["customizedMetadata"] = await run_in_threadpool(self.manager.metadata, entry, METADATA_S)
        return JSONResponse([found])

    async def _describe_all(self, request: Request) -> Response:
        model = request.path_params["model"]
        self.manager.find(model, None)
        return JSONResponse(await self._descriptions(self.manager.registry.versions(model)))

    async def _descriptions(self, entries: tuple[RegisteredVersion, ...]) -> list[dict[str, Any]]:
        report = await run_in_threadpool(self.manager.report)

        def describe(entry: RegisteredVersion) -> dict[str, Any]:
            inside = report.get(entry.key, {}).get("inside", 0)
            return description(entry, self.manager.replicas(entry), inside, self.job_queue_size)

        return [await run_in_threadpool(describe, entry) for entry in entries]

    async def _metrics(self, request: Request) -> Response:
        text = exposition(await run_in_threadpool(self.manager.report))
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def description(entry: RegisteredVersion, workers: Sequence[Replica], inside: int, queue_size: int) -> dict[str, Any]:
    """Return a version as TorchServe describes it; `inside` counts the requests in the queue and with workers."""
    registration = entry.registration
    busy = min(inside, sum(worker.ready for worker in workers) * registration.batch_size)
    return {
        "modelName": registration.model,
        "modelVersion": registration.version,
        "modelUrl": registration.url,
        "runtime": "python",
        "minWorkers": entry.min_workers,
        "maxWorkers": entry.max_workers,
        "batchSize": registration.batch_size,
        "maxBatchDelay": registration.max_batch_delay,
        "responseTimeout": registration.response_timeout_s,
        "loadedAtStartup": False,
        "workers": [_worker(each) for each in workers],
        "jobQueueStatus": {
            "remainingCapacity": max(0, queue_size - inside),
            "pendingRequests": max(0, inside - busy),
        },
    }


def _worker(replica: Replica) -> dict[str, Any]:
    started = datetime.fromtimestamp(replica.started, UTC).isoformat(timespec="milliseconds")
    return {
        # TorchServe numbers its workers. A replica has a name, from which this number follows.
        "id": str(int(hashlib.sha256(replica.replica_id.encode()).hexdigest()[:8], 16)),
        "startTime": started.replace("+00:00", "Z"),
        "status": "READY" if replica.ready else "UNLOADING",
        "pid": replica.pid,
        "node": replica.node,
        "gpu": False,
    }


def _model_and_version(request: Request) -> tuple[str, str | None]:
    return request.path_params["model"], request.path_params.get("version")


def _integer(request: Request, name: str, default: int, least: int = 0) -> int:
    given = request.query_params.get(name)
    if given is None or given == "":
        return default
    try:
        number = int(given)
    except ValueError:
        number = -1
    if not least <= number < 2**31:
        raise BadRequestException(f"{name} must be a whole number from {least}")
    return number


async def _ping(request: Request) -> Response:
    return JSONResponse({"status": "Healthy"})


async def _error_response(request: Request, error: Exception) -> Response:
    response = error if isinstance(error, ErrorResponse) else InternalServerException(str(error))
    return Response(response.body(), response.status, media_type="application/json")


async def _placement_lost(request: Request, error: Exception) -> Response:
    """Answer that the engine is unavailable: it recovers by itself, and the client may send the request again."""
    log.warning("%s %s: %s", request.method, request.url.path, str(error).strip()[:500])
    unavailable = ServiceUnavailableException(f"the placement did not answer: {type(error).__name__}")
    return await _error_response(request, unavailable)


async def _not_routed(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return await _error_response(request, MethodNotAllowedException() if status == 405 else ResourceNotFoundException())
