"""A small HTTP server that answers in the gateway's shapes, and as wrongly as a test asks for."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

CARDS: dict[str, dict[str, Any]] = {
    "digits": {"kind": "vision", "weights": "trained", "labels": [str(digit) for digit in range(10)]},
    "weather": {"kind": "vision", "weights": "random", "labels": ["dew", "snow"]},
    "cartpole": {
        "kind": "policy",
        "weights": "trained",
        "observation": {
            "fields": ["cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity"],
            "space": {
                "type": "box",
                "shape": [4],
                "dtype": "float32",
                "low": [-4.8, None, -0.41887903, None],
                "high": [4.8, None, 0.41887903, None],
            },
        },
    },
}

Answer = Callable[["FakeGateway", web.Request], Awaitable[web.StreamResponse]]


@dataclass
class FakeGateway:
    """Answers the n-th prediction with `script(n)`; the first of a run is number 0, warm-up included."""

    script: Callable[[int], Answer]
    key: str | None = None
    url: str = ""
    bodies: list[tuple[str, bytes]] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)
    in_flight: int = 0
    most_in_flight: int = 0
    seen: asyncio.Event = field(default_factory=asyncio.Event)
    full: asyncio.Event = field(default_factory=asyncio.Event)
    site: web.TCPSite | None = None

    def locked(self, request: web.Request) -> bool:
        """Whether the request brings no key, or a wrong one, and one is asked for."""
        return self.key is not None and request.headers.get("X-Api-Key") != self.key

    async def describe(self, request: web.Request) -> web.Response:
        if self.locked(request):
            return error(401, "unauthorized")
        model = request.match_info["model"]
        if model not in CARDS:
            return error(404, "unknown_model")
        version = {
            "version": "1.0",
            "default": True,
            "workers": {"ready": 1, "total": 1, "min": 1, "max": 1},
            "queue": {"pending": 0, "free": 100},
            "batch": {"batch_size": 4, "max_batch_delay": 5},
            **CARDS[model],
        }
        return web.json_response({"name": model, "default_version": "1.0", "versions": [version]})

    async def predict(self, request: web.Request) -> web.StreamResponse:
        if self.locked(request):
            return error(401, "unauthorized")
        number = len(self.bodies)
        self.bodies.append((request.content_type, await request.read()))
        self.connections.add(request.transport)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.seen.set()
        try:
            return await self.script(number)(self, request)
        finally:
            self.in_flight -= 1


def error(status: int, code: str) -> web.Response:
    """The gateway's one shape of errors."""
    return web.json_response({"error": code, "detail": code, "request_id": "r"}, status=status)


async def right(_: FakeGateway, request: web.Request) -> web.StreamResponse:
    prediction = {"label": "7", "confidence": 1.0}
    return web.json_response({"model": request.match_info["model"], "version": "1.0", "predictions": [prediction]})


async def left(_: FakeGateway, request: web.Request) -> web.StreamResponse:
    model = request.match_info["model"]
    return web.json_response({"model": model, "version": "1.0", "predictions": [{"action": 0}]})


async def blocking(gateway: FakeGateway, request: web.Request) -> web.StreamResponse:
    """Holds up everything in this process, the load generator of a test as well."""
    time.sleep(0.5)  # noqa: ASYNC251 - that is the point
    return await right(gateway, request)


async def dying(gateway: FakeGateway, request: web.Request) -> web.StreamResponse:
    """Hangs up and listens no more."""
    assert gateway.site is not None
    await gateway.site.stop()
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def no_worker(_: FakeGateway, request: web.Request) -> web.StreamResponse:
    return error(503, "no_worker")


async def unreadable(_: FakeGateway, request: web.Request) -> web.StreamResponse:
    return error(400, "unreadable_input")


async def plain_500(_: FakeGateway, request: web.Request) -> web.StreamResponse:
    return web.Response(status=500, text="broken")


async def nothing_predicted(_: FakeGateway, request: web.Request) -> web.StreamResponse:
    return web.json_response({"model": request.match_info["model"], "version": "1.0", "predictions": []})


async def other_model(_: FakeGateway, request: web.Request) -> web.StreamResponse:
    return web.json_response({"model": "other", "version": "1.0", "predictions": [{}]})


async def upstream_error_as_200(_: FakeGateway, request: web.Request) -> web.StreamResponse:
    return web.json_response({"code": 503, "message": "Worker died"})


async def not_json(_: FakeGateway, request: web.Request) -> web.StreamResponse:
    return web.Response(text="ok")


async def never(_: FakeGateway, request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def closed(_: FakeGateway, request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def cut_short(_: FakeGateway, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"{")
    assert request.transport is not None
    request.transport.close()
    return response


async def together(gateway: FakeGateway, request: web.Request) -> web.StreamResponse:
    """Answers once four requests are here at the same time, so that it is seen how many clients there are."""
    if gateway.in_flight == 4:
        gateway.full.set()
    await gateway.full.wait()
    return await right(gateway, request)


@contextlib.asynccontextmanager
async def gateway(
    script: Callable[[int], Answer] = lambda _: right, key: str | None = None
) -> AsyncIterator[FakeGateway]:
    """A running server on a free port of loopback, which asks for the key if there is one."""
    fake = FakeGateway(script, key)
    app = web.Application()
    app.router.add_get("/models/{model}", fake.describe)
    app.router.add_post("/models/{model}/predict", fake.predict)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        fake.site = web.TCPSite(runner, "127.0.0.1", 0)
        await fake.site.start()
        host, port = runner.addresses[0][:2]
        fake.url = f"http://{host}:{port}"
        yield fake
    finally:
        await runner.cleanup()


def bodies_as_json(fake: FakeGateway) -> list[Any]:
    """What was sent, parsed."""
    return [json.loads(body) for _, body in fake.bodies]
