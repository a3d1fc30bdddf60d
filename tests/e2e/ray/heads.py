"""A Ray cluster that somebody else started, as `ray start --head` does it: its own token or none, its own files."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.local_stack import free_ports
from tests.e2e.ray.nodes import MARK, wait_until

LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}


@dataclass(frozen=True)
class Head:
    """The cluster at `address`; `env` is what its users have in theirs."""

    address: str
    env: dict[str, str]
    mark: str

    def processes(self) -> dict[int, str]:
        """What runs in it, by pid: the names that Ray gives its processes."""
        found = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = " ".join(process.cmdline())
        return found

    def do(self, program: str, *arguments: str) -> str:
        """Run a program of one of its users."""
        env = {**os.environ, **LOOPBACK, **self.env}
        command = [sys.executable, "-c", program, self.address, *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def head(token: str | None) -> Iterator[Head]:
    """A head on loopback until the block ends."""
    port, for_clients = free_ports(2)
    # A Unix socket's path has 107 bytes only.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    # Said in so many words: Ray would take a token that it finds in the home folder.
    env = {"RAY_AUTH_MODE": "disabled"}
    if token is not None:
        (folder / "token").write_text(token)
        env = {"RAY_AUTH_TOKEN_PATH": str(folder / "token"), "RAY_AUTH_MODE": "token"}
    made = Head(f"127.0.0.1:{port}", env, str(folder))
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    command += ["--include-dashboard=false", "--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=4"]
    command += ["--no-monitor", "--object-store-memory=100000000", f"--temp-dir={folder / 'r'}"]
    command += [f"--ray-client-server-port={for_clients}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **LOOPBACK, **env, MARK: made.mark}, stdout=log, stderr=log, cwd=folder
        )
    try:
        wait_until(lambda: _listens(port), f"a head listens, see {folder / 'log'}")
        yield made
    finally:
        process.terminate()
        process.wait(timeout=60)
        wait_until(lambda: made.processes() == {}, "the head's processes end")
        shutil.rmtree(folder, ignore_errors=True)


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


OTHERS = """
import sys
import ray
from ray import serve
ray.init(address=sys.argv[1], _node_ip_address="127.0.0.1", log_to_driver=False)
@serve.deployment(ray_actor_options={"num_cpus": 0})
class Theirs:
    def __call__(self, request):
        return "theirs"
serve.run(Theirs.bind(), name="theirs", route_prefix="/theirs")
"""
"""Runs an application that is not ours; its route is the same Serve's."""

NAMES = """
import json, sys
import ray
from ray import serve
ray.init(address=sys.argv[1], _node_ip_address="127.0.0.1", log_to_driver=False)
print(json.dumps(sorted(serve.status().applications)))
"""

OLDER = """
import json, sys
import ray
from ray._private import ray_constants
from ray.experimental import internal_kv
ray.init(address=sys.argv[1], _node_ip_address="127.0.0.1", log_to_driver=False)
key, space = b"CLUSTER_METADATA", ray_constants.KV_NAMESPACE_CLUSTER
told = json.loads(internal_kv._internal_kv_get(key, namespace=space))
internal_kv._internal_kv_put(key, json.dumps({**told, "ray_version": "2.9.0"}).encode(), True, namespace=space)
"""
"""Has a head say that it is of another version of Ray."""


def applications(head: Head) -> list[str]:
    """Names of what Serve runs there; nothing where it does not run."""
    names: list[str] = json.loads(head.do(NAMES).splitlines()[-1])
    return names
