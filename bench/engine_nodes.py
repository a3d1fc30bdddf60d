"""Stacks of several engine nodes on this machine, each node a TorchServe with its own ports, folder and address.

Benchmarks of rollouts, of scale and of failures use them, and so do end-to-end tests.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

import engines
import prometheus
from bench.local_stack import ENGINE_PORTS, STACK_PORTS, LocalStack, free_ports, port_variables
from bench.server_process import MeasurementError
from errors import MarinaError
from settings import Settings
from settings.load import ROOT
from stack import processes
from stack.folders import Folders

START_S = 180.0
SCALING_S = 120.0
UP_S, DOWN_S, RETURN_S = 8.0, 6.0, 240.0
IN_TRAFFIC = "marina_gateway_node_in_traffic"


@dataclass(frozen=True)
class EngineNode:
    """A host that runs only an engine."""

    name: str
    env: Mapping[str, str]

    @property
    def host(self) -> str:
        """The address that it listens on."""
        return self.env.get("MARINA_ENGINE_HOST", "127.0.0.1")

    @property
    def folders(self) -> Folders:
        """Its files."""
        return _folders(self.env)

    @property
    def described(self) -> str:
        """Its entry in MARINA_NODES."""
        state = self.env["MARINA_STATE"]
        urls = {kind: f"http://{self.host}:{self.env[f'MARINA_{kind}_PORT']}" for kind in ("INFERENCE", "MANAGEMENT")}
        return (
            f"{{name:{self.name},inference_url:'{urls['INFERENCE']}',management_url:'{urls['MANAGEMENT']}',"
            f"key_file:'{state}/torchserve/key_file.json',model_store:'{state}/model_store',"
            f"unpacked:'{self.folders.unpacked}'}}"
        )

    def processes(self) -> list[psutil.Process]:
        """Return all of its processes."""
        return processes.find("torchserve", self.folders)

    def start(self) -> None:
        """Start it without models; `wait` returns when it is up, and the follower brings it up to date afterwards."""
        state = Path(self.env["MARINA_STATE"])
        state.mkdir(parents=True, exist_ok=True)
        with (state / "engine.log").open("ab") as log:
            subprocess.Popen(
                [sys.executable, "-m", "stack", "run", "torchserve"],
                cwd=ROOT,
                env=self.env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until its management port answers. Raises MarinaError."""
        address = (self.host, int(self.env["MARINA_MANAGEMENT_PORT"]))
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(address, timeout=1):
                return
            time.sleep(0.1)
        raise MarinaError(f"engine {self.name} does not listen on {address[0]}:{address[1]}")

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self) -> None:
        """Shut it down."""
        processes.stop_service("torchserve", self.folders)
        self.folders.remove_temporary()


@dataclass(frozen=True)
class NodeStack(LocalStack):
    """Gateway, store and keeper on this machine, and the engine nodes that were started beside them."""

    engines: tuple[EngineNode, ...]

    @property
    def folders(self) -> Folders:
        """Files of all but the engines."""
        return _folders(self.env)

    def in_traffic(self, name: str) -> bool:
        """Return True if the gateway sends requests to the node of this name."""
        gauges = prometheus.read(f"{self.gateway}/metrics").gauges
        return bool(prometheus.total(gauges, IN_TRAFFIC, node=name))


def node_environment(folder: Path, archives: Path) -> dict[str, str]:
    """Return the environment of a stack with its own ports and folders."""
    env = {**os.environ, **port_variables(STACK_PORTS, free_ports(len(STACK_PORTS)))}
    return env | {"MARINA_STATE": str(folder), "MARINA_ARCHIVES": str(archives), "MARINA_TUNED": "false"}


def engine_node(name: str, folder: Path, of: Mapping[str, str], host: str = "127.0.0.1") -> EngineNode:
    """Return one more engine for the stack with the environment `of`; it fetches from that stack's store."""
    ports = port_variables(ENGINE_PORTS, free_ports(len(ENGINE_PORTS)))
    return EngineNode(name, {**of, **ports, "MARINA_STATE": str(folder), "MARINA_ENGINE_HOST": host})


@contextlib.contextmanager
def node_stack(folder: Path, archives: Path, count: int, overrides: Sequence[str] = ()) -> Iterator[NodeStack]:
    """Start a stack with `count` engines, at 127.0.0.2 and on, and no model; end it with the block."""
    env = node_environment(folder / "front", archives)
    nodes = tuple(engine_node(f"n{n + 1}", folder / f"n{n + 1}", env, f"127.0.0.{n + 2}") for n in range(count))
    made = NodeStack(env | {"MARINA_NODES": f"[{','.join(each.described for each in nodes)}]"}, nodes)
    try:
        for each in nodes:
            each.start()
        for each in nodes:
            each.wait()
        made.run("-m", "stack", "up", *overrides)
        yield made
    finally:
        for each in nodes:
            each.stop()
        made.run("-m", "stack", "down")


@contextlib.contextmanager
def two_nodes(folder: Path, archives: Path, models: Sequence[str]) -> Iterator[NodeStack]:
    """Start a stack whose own engine is node `a`, and beside it node `b`, with `models` rolled out on both.

    `archives` holds the built archives. The stack ends with the block.
    """
    env = node_environment(folder / "a", archives)
    b = engine_node("b", folder / "b", env)
    made = NodeStack(env | {"MARINA_NODES": f"[{EngineNode('a', env).described},{b.described}]"}, (b,))
    try:
        b.start()
        b.wait()
        made.run("-m", "stack", "up")
        for model in models:
            made.run("upload_model.py", f"served_model={model}")
        yield made
    finally:
        b.stop()
        made.run("-m", "stack", "down")


class PowerCuts:
    """Kills one node of a stack, starts it again, waits until it gets requests, and repeats."""

    def __init__(self, stack: NodeStack) -> None:
        self._stack = stack
        self._node = stack.engines[0]
        self.kills = 0
        self.returns = 0

    async def run(self, over: asyncio.Event) -> None:
        """Repeat until `over` is set; the node gets requests at the end. Raises MarinaError if it does not return."""
        while not await _is_set(over, UP_S):
            await asyncio.to_thread(self._node.kill)
            self.kills += 1
            await asyncio.sleep(DOWN_S)
            await asyncio.to_thread(self._node.start)
            await asyncio.to_thread(self._node.wait)
            await self._wait_for_traffic()
            self.returns += 1

    async def _wait_for_traffic(self) -> None:
        deadline = time.monotonic() + RETURN_S
        while time.monotonic() < deadline:
            if await asyncio.to_thread(self._stack.in_traffic, self._node.name):
                return
            await asyncio.sleep(0.5)
        raise MarinaError(f"the killed node was not back in traffic after {RETURN_S:g} s")


async def _is_set(event: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _folders(env: Mapping[str, str]) -> Folders:
    state = Path(env["MARINA_STATE"])
    return Folders(state, state / "model_store", keeps_model_store=False)


@dataclass(frozen=True)
class Scaler:
    """One model of a TorchServe: the management API that scales it, and its usual number of workers."""

    management: str
    headers: Mapping[str, str]
    model: str
    workers: int

    def start_one(self) -> float:
        """Return the seconds in which a single worker starts and loads its model while there is no other."""
        self._scale(0)
        began = time.perf_counter()
        self._scale(1)
        took = time.perf_counter() - began
        self._scale(self.workers)
        return took

    def _scale(self, workers: int) -> None:
        query: dict[str, str | int] = {"min_worker": workers, "max_worker": workers, "synchronous": "true"}
        url = f"{self.management}/models/{self.model}"
        answer = requests.put(url, params=query, headers=dict(self.headers), timeout=SCALING_S)
        if answer.status_code != 200:
            raise MeasurementError(f"{self.model} does not scale: {answer.status_code} {answer.text[:200]}")


def kit_scaler(settings: Settings, model: str, workers: int) -> Scaler:
    """Return the scaler of a model on the stack's own TorchServe."""
    key = engines.connect(settings).keys.token("management")
    return Scaler(settings.engine.management_url, {"Authorization": f"Bearer {key}"}, model, workers)
