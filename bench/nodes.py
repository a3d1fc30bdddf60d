"""Engine hosts on this machine: TorchServes with ports, folders and, where asked for, addresses of their own."""

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

from bench.command import finished
from errors import MarinaError
from settings.load import ROOT
from stack import processes
from stack.folders import Folders

PORTS = ("GATEWAY", "GATEWAY_GRPC", "EDGE", "FILES", "S3")
ENGINE_PORTS = ("INFERENCE", "MANAGEMENT", "METRICS", "GRPC_INFERENCE", "GRPC_MANAGEMENT")
START_S = 180.0


@dataclass(frozen=True)
class Engine:
    """One host that is only an engine."""

    name: str
    env: Mapping[str, str]

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self.env.get("MARINA_ENGINE_HOST", "127.0.0.1")

    @property
    def folders(self) -> Folders:
        """Its files."""
        state = Path(self.env["MARINA_STATE"])
        return Folders(state, state / "model_store", keeps_model_store=False)

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
        """All of its processes."""
        return processes.find("torchserve", self.folders)

    def start(self) -> None:
        """Starts it, empty; `wait` says when it is up, and the follower brings it up to date afterwards."""
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
        """Returns when its management port answers. Raises MarinaError when it does not."""
        address = (self.host, int(self.env["MARINA_MANAGEMENT_PORT"]))
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(address, timeout=1):
                return
            time.sleep(0.1)
        raise MarinaError(f"engine {self.name} does not listen on {address[0]}:{address[1]}")

    def kill(self) -> None:
        """Ends it as a power cut would."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self) -> None:
        """Ends it in good order."""
        processes.stop_service("torchserve", self.folders)
        self.folders.remove_temporary()


@dataclass(frozen=True)
class Nodes:
    """Gateway, store and keeper on this machine, and every engine a host of its own."""

    env: Mapping[str, str]
    engines: tuple[Engine, ...]

    @property
    def folders(self) -> Folders:
        """Files of all but the engines."""
        state = Path(self.env["MARINA_STATE"])
        return Folders(state, state / "model_store", keeps_model_store=False)

    @property
    def gateway(self) -> tuple[str, int]:
        """Where the gateway answers."""
        return "127.0.0.1", int(self.env["MARINA_GATEWAY_PORT"])

    def run(self, *arguments: str) -> str:
        """Run one of the kit's programs to its end; returns what it printed, raises MarinaError when it fails."""
        return run(arguments, self.env)


def run(arguments: tuple[str, ...], env: Mapping[str, str]) -> str:
    """What the program printed. Raises MarinaError with the end of that when it fails."""
    done = finished(arguments, env)
    if done.returncode != 0:
        raise MarinaError(f"{' '.join(arguments)}: {done.stdout.strip()[-2000:]}")
    return done.stdout


def environment(folder: Path, archives: Path) -> dict[str, str]:
    """A stack of its own ports and folders."""
    ports = dict(zip((*PORTS, *ENGINE_PORTS), free_ports(len(PORTS) + len(ENGINE_PORTS)), strict=True))
    env = {**os.environ, **{f"MARINA_{name}_PORT": port for name, port in ports.items()}}
    return env | {"MARINA_STATE": str(folder), "MARINA_ARCHIVES": str(archives), "MARINA_TUNED": "false"}


def engine(name: str, folder: Path, of: Mapping[str, str], host: str = "127.0.0.1") -> Engine:
    """One more engine for the stack with the environment `of`; it fetches from that stack's store."""
    ports = dict(zip(ENGINE_PORTS, free_ports(len(ENGINE_PORTS)), strict=True))
    own = {f"MARINA_{kind}_PORT": port for kind, port in ports.items()}
    return Engine(name, {**of, **own, "MARINA_STATE": str(folder), "MARINA_ENGINE_HOST": host})


@contextlib.contextmanager
def nodes(folder: Path, archives: Path, count: int, overrides: Sequence[str] = ()) -> Iterator[Nodes]:
    """Everything up with `count` engines at 127.0.0.2 and on, and no model yet; ended with the block."""
    env = environment(folder / "front", archives)
    engines = tuple(engine(f"n{n + 1}", folder / f"n{n + 1}", env, f"127.0.0.{n + 2}") for n in range(count))
    made = Nodes(env | {"MARINA_NODES": f"[{','.join(each.described for each in engines)}]"}, engines)
    try:
        for each in engines:
            each.start()
        for each in engines:
            each.wait()
        made.run("-m", "stack", "up", *overrides)
        yield made
    finally:
        for each in engines:
            each.stop()
        made.run("-m", "stack", "down")


def free_ports(count: int) -> list[str]:
    """Ports of 127.0.0.1 that nobody listens on now; all differ."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    numbers = [str(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return numbers
