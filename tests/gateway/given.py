"""An engine in the test process that speaks as much of TorchServe as the gateway asks, where no worker matters."""

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.gateway.engine import POLICY, VISION
from tests.ports import free_port

CARDS: dict[str, dict[str, Any]] = {"digits": VISION, "cartpole": POLICY}


@dataclass(frozen=True)
class Arrived:
    """One request as the engine got it; names of headers in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


class GivenTorchServe:
    """Answers at once, but what begins with `hold` only after `release`, what begins with `refuse` with 503, and
    at `break` it closes the connection.

    `asked` counts the predictions that arrived, `left` those whose caller gave up; `last` is the last one. An adopted
    model repeats its body.
    """

    def __init__(self, cards: Mapping[str, Mapping[str, Any]] = CARDS) -> None:
        self.port = free_port()
        self.cards = cards
        self.last: Arrived | None = None
        self.asked = self.left = 0
        self._loop = asyncio.new_event_loop()
        self._free = asyncio.Event()

    @property
    def overrides(self) -> tuple[str, ...]:
        """Settings of a gateway in front of it."""
        ports = (f"engine.inference_port={self.port}", f"engine.management_port={self.port}")
        return (*ports, "engine.key_file=nowhere", "gateway.deadline_ms=60000", "gateway.admission.max_wait_ms=60000")

    def release(self) -> None:
        """Lets go of everything that is held, now and later."""
        self._loop.call_soon_threadsafe(self._free.set)

    def hold(self) -> None:
        """Holds again."""
        self._loop.call_soon_threadsafe(self._free.clear)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serves in a thread of its own."""
        runner = web.AppRunner(self._application(), handler_cancellation=True)

        async def begin() -> None:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", self.port).start()

        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(begin(), self._loop).result(30)
            yield
        finally:
            self.release()
            asyncio.run_coroutine_threadsafe(runner.cleanup(), self._loop).result(30)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    def _application(self) -> web.Application:
        made = web.Application(client_max_size=64 << 20)
        made.router.add_get("/models", self._models)
        made.router.add_get("/models/{model}/{version}", self._described)
        made.router.add_get("/ping", self._models)
        made.router.add_post("/predictions/{model}", self._predicted)
        made.router.add_post("/predictions/{model}/{version}", self._predicted)
        made.router.add_post("/explanations/{model}", self._predicted)
        made.router.add_post("/explanations/{model}/{version}", self._predicted)
        return made

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"models": [{"modelName": name} for name in self.cards]})

    async def _described(self, request: web.Request) -> web.Response:
        name = request.match_info["model"]
        if name not in self.cards:
            return web.json_response({"code": 404}, status=404)
        entry = {"modelName": name, "modelVersion": "1.0", "batchSize": 4, "workers": [{"id": "1", "status": "READY"}]}
        return web.json_response([entry | {"customizedMetadata": dict(self.cards[name])}])

    async def _predicted(self, request: web.Request) -> web.Response:
        self.asked += 1
        try:
            body = await request.read()
            if body.startswith((b"hold", b'{"instances":[[0.0,0.0,0.2', b"[0,0,0.2")):
                await self._free.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        if body.startswith((b"refuse", b"[0,0,0.3")):
            return web.json_response({"code": 503, "type": "ServiceUnavailableException", "message": "x"}, status=503)
        if body.startswith((b"break", b"[0,0,0.4")) and request.transport is not None:
            request.transport.close()
        self.last = Arrived(request.path, {key.lower(): value for key, value in request.headers.items()}, body)
        card, verb = self.cards[request.match_info["model"]], request.path.split("/")[1]
        if card.get("kind") == "adopted":
            headers = {"x-worker-pid": "1", "content-type": self.last.headers.get("content-type", "text/plain")}
            return web.Response(body=body, status=418 if body == b"teapot" else 200, headers=headers)
        policy = card.get("kind") == "policy"
        count = len(json.loads(body)["instances"]) if body.startswith(b'{"instances"') else 1
        one = {"action": 1} if policy else {"label": "7", "confidence": 0.75, "probabilities": {"7": 0.75, "1": 0.25}}
        content = {"model": request.match_info["model"], "version": "1.0", verb: [one] * count}
        return web.json_response(content, headers={"x-model-version": "1.0"})
