"""TorchServe's Management API over the Manager, and the metrics beside it; every route but metrics asks for its key."""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from engines.ray.described import described
from engines.ray.exposition import exposition
from engines.ray.manager import Manager, Wanted
from engines.ray.refusals import BadRequest, Failed, KeyRefused, NoSuchMethod, NoSuchResource, Refusal, Unavailable
from engines.ray.table import Entry
from engines.ray.tokens import KeyFile, Kind, Tokens, bearer

log = logging.getLogger(__name__)

PAGE = 100
METADATA_S = 5.0

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class ManagementApi:
    """The routes; `job_queue_size` and `response_timeout_s` are those of the settings."""

    manager: Manager
    tokens: Tokens
    key_file: KeyFile
    job_queue_size: int
    response_timeout_s: int

    def application(self) -> Starlette:
        """The ASGI application of the management port."""
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
        refusals = {Refusal: _refused, HTTPException: _not_routed, RayError: _lost, RayServeException: _lost}
        return Starlette(routes=routes, exception_handlers=refusals)

    def metrics(self) -> Starlette:
        """The ASGI application of the metrics port."""
        handlers = {Refusal: _refused, HTTPException: _not_routed}
        return Starlette(routes=[Route("/metrics", self._metrics)], exception_handlers=handlers)

    def _with_key(self, endpoint: Endpoint) -> Endpoint:
        async def guarded(request: Request) -> Response:
            self._check(request, "management")
            return await endpoint(request)

        return guarded

    def _check(self, request: Request, kind: Kind) -> None:
        if not self.tokens.accepts(kind, bearer(request.headers.get("authorization", "")), time.time()):
            raise KeyRefused

    async def _renew(self, request: Request) -> Response:
        self._check(request, "API")
        kinds: dict[str, Kind] = {"management": "management", "inference": "inference"}
        kind = kinds.get(request.query_params.get("type", ""))
        if kind is None:
            raise BadRequest("type must be management or inference")
        self.key_file.renew((kind,), time.time())
        return JSONResponse({"status": f"{kind} key is renewed"})

    async def _list(self, request: Request) -> Response:
        start, limit = _whole(request, "next_page_token", 0), min(PAGE, _whole(request, "limit", PAGE, 1))
        table = self.manager.table
        names = table.models()
        shown = names[start : start + limit]
        entries = [(name, table.find(name, None)) for name in shown]
        answer: dict[str, Any] = {
            "models": [{"modelName": name, "modelUrl": each.registration.url} for name, each in entries if each]
        }
        if start + limit < len(names):
            answer["nextPageToken"] = str(start + limit)
        return JSONResponse(answer)

    async def _register(self, request: Request) -> Response:
        query = request.query_params
        if not query.get("url"):
            raise BadRequest("Parameter url is required.")
        wanted = Wanted(
            url=query["url"],
            model=query.get("model_name") or None,
            handler=query.get("handler") or None,
            sha256=query.get("sha256") or None,
            batch_size=_whole(request, "batch_size", 1, 1),
            max_batch_delay=_whole(request, "max_batch_delay", 100),
            response_timeout_s=_whole(request, "response_timeout", self.response_timeout_s, 1),
            workers=_whole(request, "initial_workers", 0),
        )
        made = await run_in_threadpool(self.manager.register, wanted)
        words = f'Model "{made.model}" Version: {made.version} registered with {wanted.workers} initial workers'
        more = "" if wanted.workers else ". Use scale workers API to add workers for the model."
        return JSONResponse({"status": words + more})

    async def _scale(self, request: Request) -> Response:
        model, version = _named(request)
        entry = self.manager.found(model, version)
        least = _whole(request, "min_worker", 1)
        most = _whole(request, "max_worker", least)
        if most < least:
            raise BadRequest("max_worker cannot be less than min_worker.")
        name = entry.registration
        change = (model, name.version, least, most)
        if request.query_params.get("synchronous", "").lower() != "true":
            after = BackgroundTask(self._scaled_later, *change)
            return JSONResponse({"status": "Processing worker updates..."}, 202, background=after)
        await run_in_threadpool(self.manager.scale, *change)
        words = f"Workers scaled to {least} for model: {name.model}, version: {name.version}"
        return JSONResponse({"status": words})

    def _scaled_later(self, model: str, version: str, least: int, most: int) -> None:
        """What nobody waits for: a failure is the log's."""
        try:
            self.manager.scale(model, version, least, most)
        except Refusal as refusal:
            log.warning("%s %s is not scaled: %s", model, version, refusal)

    async def _set_default(self, request: Request) -> Response:
        model, version = _named(request)
        await run_in_threadpool(self.manager.set_default, model, str(version))
        words = f'Default version successfully updated for model "{model}" to "{version}"'
        return JSONResponse({"status": words})

    async def _unregister(self, request: Request) -> Response:
        model, version = _named(request)
        await run_in_threadpool(self.manager.remove, model, version)
        return JSONResponse({"status": f'Model "{model}" unregistered'})

    async def _describe(self, request: Request) -> Response:
        entry = self.manager.found(*_named(request))
        [told] = await self._told((entry,))
        if request.query_params.get("customized", "").lower() == "true":
            told["customizedMetadata"] = await run_in_threadpool(self.manager.metadata, entry, METADATA_S)
        return JSONResponse([told])

    async def _describe_all(self, request: Request) -> Response:
        model = request.path_params["model"]
        self.manager.found(model, None)
        return JSONResponse(await self._told(self.manager.table.versions(model)))

    async def _told(self, entries: tuple[Entry, ...]) -> list[dict[str, Any]]:
        report = await run_in_threadpool(self.manager.report)

        def told(entry: Entry) -> dict[str, Any]:
            key = (entry.registration.model, entry.registration.version)
            inside = report.get(key, {}).get("inside", 0)
            return described(entry, self.manager.workers(entry), inside, self.job_queue_size)

        return [await run_in_threadpool(told, entry) for entry in entries]

    async def _metrics(self, request: Request) -> Response:
        text = exposition(await run_in_threadpool(self.manager.report))
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _named(request: Request) -> tuple[str, str | None]:
    return request.path_params["model"], request.path_params.get("version")


def _whole(request: Request, name: str, default: int, least: int = 0) -> int:
    given = request.query_params.get(name)
    if given is None or given == "":
        return default
    try:
        number = int(given)
    except ValueError:
        number = -1
    if not least <= number < 2**31:
        raise BadRequest(f"{name} must be a whole number from {least}")
    return number


async def _ping(request: Request) -> Response:
    return JSONResponse({"status": "Healthy"})


async def _refused(request: Request, error: Exception) -> Response:
    refusal = error if isinstance(error, Refusal) else Failed(str(error))
    return Response(refusal.body(), refusal.status, media_type="application/json")


async def _lost(request: Request, error: Exception) -> Response:
    """Serve itself was lost on the way, or said no; it comes back by itself, and what was asked may be asked again."""
    log.warning("%s %s: %s", request.method, request.url.path, str(error).strip()[:500])
    return await _refused(request, Unavailable(f"Ray Serve did not do it: {type(error).__name__}"))


async def _not_routed(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return await _refused(request, NoSuchMethod() if status == 405 else NoSuchResource())
