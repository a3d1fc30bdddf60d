"""`python -m bench.gateway --only depth`: nested calls of a request between the server's protocol and the engine.

A gateway runs in this process in front of an engine that answers at once. When the bytes of a prediction are written to
the engine, the project's own calls on the stack are counted, and those that were on the stack when the work was handed
to another task or callback. The module of the HTTP protocol itself is left out.
"""

import asyncio
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import uvicorn

import app
from bench.local_stack import free_ports
from bench.tables import Row
from settings.load import ROOT

# The most that each request may have on the gateway's own protocol.
MOST = {"picture": 12, "state": 8}
OWN = "auto"  # the application replaces uvicorn's default by its own protocol
SERVERS = {"the gateway's protocol": OWN, "uvicorn's h11": "h11"}
START_S = 30.0

Chain = tuple[str, ...]
_handed: ContextVar[Chain] = ContextVar("handed", default=())

_SPACE = {"type": "box", "shape": [4], "dtype": "float32", "low": None, "high": None}
_CARDS: dict[str, dict[str, Any]] = {
    "digits": {"kind": "vision", "classes": 2},
    "cartpole": {"kind": "policy", "observation": {"space": _SPACE}, "action": {}},
}
_REQUESTS = {
    "picture": ("/models/digits/predict", "image/png", b"\x89PNG a picture that nobody decodes"),
    "state": ("/models/cartpole/predict", "application/json", b"[0.0, 0.1, 0.2, 0.3]"),
}


def depth() -> list[Row]:
    """Count the calls of each request under each server."""
    rows = []
    with _engine() as engine_port:
        for server, http in SERVERS.items():
            with _gateway(engine_port, http) as (port, found):
                for name, (path, content_type, body) in _REQUESTS.items():
                    _send(port, path, content_type, body)  # opens the connection to the engine
                    _send(port, path, content_type, body)
                    rows.append(_row(name, server, found[-1]))
    return rows


def _row(name: str, server: str, chain: Chain) -> Row:
    most = MOST[name] if SERVERS[server] == OWN else None
    wanted = "" if most is None else f"≤ {most}"
    return Row(f"{name}, {server}", " → ".join(chain), str(len(chain)), wanted, most is None or len(chain) <= most)


class _CountingLoop(asyncio.SelectorEventLoop):
    """An event loop that passes the calls on the stack to each task and callback, and records them at a write."""

    def __init__(self, found: list[Chain]) -> None:
        super().__init__()
        self._found = found
        self.set_task_factory(_task)

    # The signatures are those of the base class without its variadic types.
    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        """Schedule a callback; the project's own ones get the chain."""
        return super().call_soon(callback, *args, context=_with_chain(callback, context))

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Schedule a callback; the project's own ones get the chain."""
        return super().call_at(when, callback, *args, context=_with_chain(callback, context))

    async def create_connection(self, *args: Any, **named: Any) -> Any:
        """Open a connection; writes of predictions on it are counted."""
        opened: Any = await super().create_connection(*args, **named)
        opened[0].write = self._counted(opened[0].write)
        opened[0].writelines = self._counted(opened[0].writelines)
        return opened

    def _counted(self, write: Callable[[Any], None]) -> Callable[[Any], None]:
        def count(data: Any) -> None:
            first = data if isinstance(data, bytes | bytearray | memoryview) else next(iter(data))
            if bytes(first[:17]) == b"POST /predictions":
                self._found.append(_chain())
            write(data)

        return count


def _task(loop: asyncio.AbstractEventLoop, coroutine: Any, context: Context | None = None) -> asyncio.Task[Any]:
    kept = copy_context() if context is None else context.copy()
    kept.run(_handed.set, _chain())
    return asyncio.Task(coroutine, loop=loop, context=kept)


def _with_chain(callback: Any, context: Context | None) -> Context | None:
    code = getattr(getattr(callback, "__func__", callback), "__code__", None)
    if code is None or not _is_own(code.co_filename):
        return context
    kept = copy_context() if context is None else context.copy()
    kept.run(_handed.set, _chain())
    return kept


def _chain() -> Chain:
    """Return the project's calls that led here, outermost first."""
    calls: list[str] = []
    frame = sys._getframe()
    while (outer := frame.f_back) is not None:
        frame = outer
        if _is_own(frame.f_code.co_filename) and frame.f_code.co_name != "<module>":
            calls.append(frame.f_code.co_qualname)
    return (*_handed.get(), *reversed(calls))


def _is_own(file: str) -> bool:
    return file.startswith(f"{ROOT}/gateway/") and not file.endswith("/protocol.py")


@contextmanager
def _gateway(engine_port: int, http: str) -> Iterator[tuple[int, list[Chain]]]:
    """Run a gateway in a thread; yields its port and the chains that it counts."""
    port, found = free_ports(1)[0], list[Chain]()
    overrides = [
        f"engine.inference_port={engine_port}", f"engine.management_port={engine_port}", "engine.key_file=nowhere",
        f"gateway.port={port}", "gateway.grpc_port=null",
    ]  # fmt: skip
    os.environ[app.OVERRIDES] = json.dumps(overrides)
    config = uvicorn.Config("app:app", port=port, http=http, lifespan="on", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    loop = _CountingLoop(found)
    thread = threading.Thread(target=loop.run_until_complete, args=(server.serve(),))
    thread.start()
    try:
        _wait_for(port)
        yield port, found
    finally:
        server.should_exit = True
        thread.join()
        loop.close()


def _wait_for(port: int) -> None:
    """Wait until the gateway knows the models."""
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/models/cartpole")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass  # it does not listen yet
        finally:
            connection.close()
        time.sleep(0.05)
    raise TimeoutError("the gateway did not start")


def _send(port: int, path: str, content_type: str, body: bytes) -> None:
    # Head and body in one packet: an observation whose body comes later goes through the application.
    lines = (f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {content_type}", "Connection: close")
    head = "\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head + body)
        response = connection.makefile("rb").read()
    if not response.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"{path} answers {response!r}")


@contextmanager
def _engine() -> Iterator[int]:
    """Run an engine in threads that answers as much as the gateway reads."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Engine)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Engine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Describe the models."""
        parts = self.path.partition("?")[0].strip("/").split("/")
        if len(parts) == 1:
            self._answer({"models": [{"modelName": name} for name in _CARDS]})
            return
        worker = {"id": "1", "status": "READY"}
        entry = {"modelName": parts[1], "modelVersion": "1.0", "batchSize": 4, "workers": [worker]}
        self._answer([entry | {"customizedMetadata": _CARDS[parts[1]]}])

    def do_POST(self) -> None:
        """Predict."""
        self.rfile.read(int(self.headers["content-length"]))
        prediction = {"action": 1, "label": "1", "confidence": 1.0, "probabilities": {"1": 1.0}}
        self._answer({"model": "m", "version": "1.0", "predictions": [prediction]})

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def _answer(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
