"""The four stock clients of tritonclient behind one face, and the gateway's program for them to talk to."""

import asyncio
import gc
import inspect
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np
import requests
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio

from tests.gateway.engine import Engine
from tests.polling import wait_for
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
KINDS: dict[str, tuple[ModuleType, ModuleType]] = {
    "http": (tritonclient.http, tritonclient.http),
    "http_aio": (tritonclient.http.aio, tritonclient.http),
    "grpc": (tritonclient.grpc, tritonclient.grpc),
    "grpc_aio": (tritonclient.grpc.aio, tritonclient.grpc),
}


@dataclass(frozen=True)
class Served:
    """A gateway that runs as a program: where it is reached."""

    http: str
    grpc: str
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://{self.http}"


@contextmanager
def program(engine: Engine, *overrides: str, log: Path | None = None) -> Iterator[Served]:
    """`python app.py` in front of this engine until the end of the block."""
    port, grpc_port = free_port(), free_port()
    arguments = [
        f"gateway.port={port}",
        f"gateway.grpc_port={grpc_port}",
        *engine.overrides,
        *overrides,
    ]
    with (log or Path("/dev/null")).open("ab") as stream:
        process = subprocess.Popen([sys.executable, "app.py", *arguments], cwd=ROOT, stderr=stream, stdout=stream)
    served = Served(f"127.0.0.1:{port}", f"127.0.0.1:{grpc_port}", process)
    try:
        wait_for(lambda: _alive(served.url))
        yield served
    finally:
        process.terminate()
        process.wait(30)


def _alive(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=5).status_code == 200
    except OSError:
        return False


class Client:
    """One stock client; its coroutines are run to their end, its answers are dicts whichever wire they came over."""

    def __init__(self, kind: str, http: str, grpc: str) -> None:
        self.kind = kind
        self.over_grpc = kind.startswith("grpc")
        module, self.types = KINDS[kind]
        self._runner = asyncio.Runner()
        self._client = self._made(module, grpc if self.over_grpc else http)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.call("close")
        self._runner.close()
        # The asyncio client over HTTP never reads the answers of its health calls, and aiohttp may complain of that.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del self._client
            gc.collect()

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """What a method of the client returns; gRPC's messages as dicts."""

        async def awaited() -> Any:
            return await getattr(self._client, name)(*arguments, **options)

        method = getattr(self._client, name)
        if self.kind.endswith("aio") and inspect.iscoroutinefunction(inspect.unwrap(method)):
            return self._runner.run(awaited())
        return method(*arguments, **options)

    def describe(self, name: str, *arguments: str, **options: Any) -> Any:
        """The same, as a dict."""
        if self.over_grpc:
            options["as_json"] = True
        return self.call(name, *arguments, **options)

    def tensor(self, name: str, values: "np.ndarray[Any, Any]", datatype: str, **options: Any) -> Any:
        """An input that holds these values."""
        made = self.types.InferInput(name, list(values.shape), datatype)
        made.set_data_from_numpy(values, **options)
        return made

    def output(self, name: str, **options: Any) -> Any:
        """A requested output."""
        return self.types.InferRequestedOutput(name, **options)

    def _made(self, module: ModuleType, address: str) -> Any:
        async def made() -> Any:
            return module.InferenceServerClient(address)

        return self._runner.run(made()) if self.kind.endswith("aio") else module.InferenceServerClient(address)


def pictures(*each: bytes) -> "np.ndarray[Any, Any]":
    """Encoded pictures as the array that a client sends them in."""
    return np.array(each, dtype=np.object_)
