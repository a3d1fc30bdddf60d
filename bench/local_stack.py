"""A stack for one benchmark: on free ports, in a temporary folder, taken down at the end."""

import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

import settings
from errors import MarinaError
from settings.load import ROOT

ENGINE_PORTS = ("INFERENCE", "MANAGEMENT", "METRICS", "GRPC_INFERENCE", "GRPC_MANAGEMENT")
STACK_PORTS = ("GATEWAY", "GATEWAY_GRPC", "EDGE", "FILES", "S3", "RAY", *ENGINE_PORTS)
# Below the ports that the system gives to outgoing connections.
LOWEST_PORT, HIGHEST_PORT = 21000, 32000
READY_S = 30
NO_VARIABLES: Mapping[str, str] = {}


def free_ports(count: int) -> list[int]:
    """Return consecutive ports without listeners; the block begins at random, so that parallel runs rarely meet."""
    # Not the shared generator, which tests seed alike.
    begin = random.SystemRandom().randrange(LOWEST_PORT, HIGHEST_PORT - count)
    for offset in range(0, HIGHEST_PORT - LOWEST_PORT, count):
        first = LOWEST_PORT + (begin - LOWEST_PORT + offset) % (HIGHEST_PORT - LOWEST_PORT - count)
        ports = range(first, first + count)
        with suppress(OSError), ExitStack() as probes:
            for port in ports:
                probes.enter_context(socket.create_server(("127.0.0.1", port)))
            return list(ports)
    raise SystemExit("no free ports")


def port_variables(names: Sequence[str], ports: Sequence[int]) -> dict[str, str]:
    """Return the environment variables that give these ports to these services."""
    return {f"MARINA_{name}_PORT": str(port) for name, port in zip(names, ports, strict=True)}


def completed(
    arguments: Sequence[str], env: Mapping[str, str], timeout_s: float | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run one of the kit's programs to its end in a stack's environment; its output holds the errors as well."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=timeout_s,
    )


def run(arguments: Sequence[str], env: Mapping[str, str]) -> str:
    """Run a program and return its output. Raises MarinaError with the end of it when the program fails."""
    done = completed(arguments, env)
    if done.returncode != 0:
        raise MarinaError(f"{' '.join(arguments)}: {done.stdout.strip()[-2000:]}")
    return done.stdout


@contextmanager
def environment(env: Mapping[str, str]) -> Iterator[None]:
    """Use these environment variables in this process, and restore the old ones."""
    before = dict(os.environ)
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass(frozen=True)
class LocalStack:
    """A running stack, by the environment that finds it."""

    env: dict[str, str]

    @property
    def gateway(self) -> str:
        """Base URL of the gateway."""
        return f"http://127.0.0.1:{self.env['MARINA_GATEWAY_PORT']}"

    def settings(self) -> settings.Settings:
        """Return the stack's settings."""
        with environment(self.env):
            return settings.load()

    def run(self, *arguments: str) -> str:
        """Run one of the kit's programs and return its output. Raises MarinaError when it fails."""
        return run(arguments, self.env)


RUNNING = LocalStack(dict(os.environ))
"""The stack that the environment of this process names and that somebody else has started."""


@contextmanager
def local_stack(
    models: Mapping[str, Sequence[str]], overrides: Sequence[str], variables: Mapping[str, str] = NO_VARIABLES
) -> Iterator[LocalStack]:
    """Start a stack with these models (name → overrides of build and upload) and these overrides of the gateway.

    `variables` are added to its environment: MARINA_ENGINE names another engine.
    """
    with tempfile.TemporaryDirectory(prefix="marina-bench-") as folder:
        env = {**os.environ, **variables, **port_variables(STACK_PORTS, free_ports(len(STACK_PORTS)))}
        made = LocalStack(env | {"MARINA_STATE": f"{folder}/state", "MARINA_ARCHIVES": f"{folder}/archives"})
        Path(made.env["MARINA_ARCHIVES"]).mkdir()
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


@contextmanager
def second_gateway(stack: LocalStack, *overrides: str) -> Iterator[int]:
    """Start one more gateway in front of the stack's engine, with these overrides; yields its port."""
    [port] = free_ports(1)
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
    raise MarinaError(f"{url} did not answer")
