"""A stack of two engine hosts on this machine, on free ports and in a folder of its own; one can be killed."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from errors import MarinaError
from settings.load import ROOT
from stack import processes
from stack.folders import Folders

PORTS = ("GATEWAY", "GATEWAY_GRPC", "EDGE", "FILES", "S3")
ENGINE_PORTS = ("INFERENCE", "MANAGEMENT", "METRICS", "GRPC_INFERENCE", "GRPC_MANAGEMENT")
RETURN_S = 180.0


@dataclass(frozen=True)
class TwoNodes:
    """`env`: the stack with gateway, store and node `a`; `second`: node `b`, which is only an engine."""

    env: dict[str, str]
    second: dict[str, str]

    @property
    def gateway(self) -> str:
        """Base of the gateway's routes."""
        return f"http://127.0.0.1:{self.env['MARINA_GATEWAY_PORT']}"

    def run(self, *arguments: str) -> str:
        """Run one of the kit's programs to its end; returns what it printed, raises MarinaError when it fails."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode != 0:
            raise MarinaError(f"{' '.join(arguments)}: {done.stdout.strip()[-2000:]}")
        return done.stdout

    def kill_second(self) -> None:
        """Ends node `b` as a power cut would."""
        for process in processes.find("torchserve", self._folders()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def start_second(self) -> None:
        """Starts node `b`, empty; it is up when this returns, and brought up to date by the keeper afterwards."""
        state = Path(self.second["MARINA_STATE"])
        state.mkdir(parents=True, exist_ok=True)
        with (state / "engine.log").open("ab") as log:
            subprocess.Popen(
                [sys.executable, "-m", "stack", "run", "torchserve"],
                cwd=ROOT,
                env=self.second,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _wait_for_port(int(self.second["MARINA_MANAGEMENT_PORT"]))

    def stop(self) -> None:
        """Ends both."""
        processes.stop_part("torchserve", self._folders())
        self._folders().remove_temporary()
        self.run("-m", "stack", "down")

    def _folders(self) -> Folders:
        state = Path(self.second["MARINA_STATE"])
        return Folders(state, state / "model_store", keeps_model_store=False)


@contextlib.contextmanager
def two_nodes(folder: Path, archives: Path, models: Sequence[str]) -> Iterator[TwoNodes]:
    """Both hosts up and `models` rolled out on them, from the built archives in `archives`; ended with the block."""
    names = [*PORTS, *ENGINE_PORTS, *(f"SECOND_{name}" for name in ENGINE_PORTS)]
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    env = {**os.environ, **{f"MARINA_{name}_PORT": ports[name] for name in (*PORTS, *ENGINE_PORTS)}}
    env |= {"MARINA_STATE": str(folder / "a"), "MARINA_ARCHIVES": str(archives)}
    second = env | {f"MARINA_{name}_PORT": ports[f"SECOND_{name}"] for name in ENGINE_PORTS}
    second |= {"MARINA_STATE": str(folder / "b")}
    env["MARINA_NODES"] = f"[{_node('a', env)},{_node('b', second)}]"
    made = TwoNodes(env, second)
    try:
        made.start_second()
        made.run("-m", "stack", "up")
        for model in models:
            made.run("upload_model.py", f"served_model={model}")
        yield made
    finally:
        made.stop()


def _node(name: str, env: dict[str, str]) -> str:
    urls = {kind: f"http://127.0.0.1:{env[f'MARINA_{kind.upper()}_PORT']}" for kind in ("inference", "management")}
    state = env["MARINA_STATE"]
    return (
        f"{{name:{name},inference_url:'{urls['inference']}',management_url:'{urls['management']}',"
        f"key_file:'{state}/torchserve/key_file.json',model_store:'{state}/model_store'}}"
    )


def _free_ports(count: int) -> list[str]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    numbers = [str(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return numbers


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + RETURN_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise MarinaError(f"the second engine does not listen on port {port}")
