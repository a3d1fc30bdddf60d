"""Where a benchmark runs: a whole stack of its own on free ports, in a temporary folder, and taken down at the end."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

import settings
from bench.command import finished
from bench.ports import free_ports
from settings.load import ROOT

PORTS = (
    *("GATEWAY", "GATEWAY_GRPC", "EDGE", "FILES"),
    *("INFERENCE", "MANAGEMENT", "METRICS", "GRPC_INFERENCE", "GRPC_MANAGEMENT", "RAY"),
)
READY_S = 30
NO_VARIABLES: Mapping[str, str] = {}


@dataclass(frozen=True)
class Ground:
    """A running stack and the environment that finds it."""

    env: Mapping[str, str]

    def settings(self) -> settings.Settings:
        """The stack's settings; they come from its environment."""
        before = dict(os.environ)
        os.environ.update(self.env)
        try:
            return settings.load()
        finally:
            os.environ.clear()
            os.environ.update(before)

    def run(self, *arguments: str) -> None:
        """Runs one of the kit's programs to its end, its words kept to ourselves unless it fails."""
        done = finished(arguments, self.env)
        if done.returncode:
            raise SystemExit(f"{' '.join(arguments)}\n{done.stdout}")


@contextmanager
def running() -> Iterator[Ground]:
    """The stack that this environment names and that somebody else has started."""
    yield Ground(os.environ)


@contextmanager
def second_gateway(stack: Ground, *overrides: str) -> Iterator[int]:
    """One more gateway in front of the stack's engine, with these overrides; its port."""
    port = free_ports(1)
    command = [sys.executable, "app.py", f"gateway.port={port}", "gateway.grpc_port=null", *overrides]
    process = subprocess.Popen(command, cwd=ROOT, env=stack.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(f"http://127.0.0.1:{port}/readyz", process)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until and process.poll() is None:
        with suppress(requests.RequestException):
            if requests.get(url, timeout=1).ok:
                return
        time.sleep(0.1)
    raise SystemExit(f"{url} did not answer")


@contextmanager
def ground(
    models: Mapping[str, Sequence[str]], overrides: Sequence[str], variables: Mapping[str, str] = NO_VARIABLES
) -> Iterator[Ground]:
    """A stack with these models (name → overrides of its build and upload) and a gateway with these overrides.

    `variables` are of its environment: MARINA_ENGINE names another engine.
    """
    with tempfile.TemporaryDirectory(prefix="marina-bench-") as folder:
        first = free_ports(len(PORTS))
        env = {**os.environ, **variables, "MARINA_STATE": f"{folder}/state", "MARINA_ARCHIVES": f"{folder}/archives"}
        env |= {f"MARINA_{name}_PORT": str(first + at) for at, name in enumerate(PORTS)}
        made = Ground(env)
        Path(env["MARINA_ARCHIVES"]).mkdir()
        made.run("-m", "demo", "train")
        try:
            for name, words in models.items():
                made.run("-m", "serialize", f"served_model={name}", *words)
            made.run("-m", "stack", "up", *overrides)
            for name, words in models.items():
                made.run("upload_model.py", f"served_model={name}", *words)
            yield made
        finally:
            made.run("-m", "stack", "down")
