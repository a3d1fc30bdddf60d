"""Ray Serve as two services of the local stack: the head of a cluster, and the manager with the Management API."""

import os
import secrets
import subprocess
import sys

from engines.profiles import RAY, check_installed
from errors import StackError
from files import write_atomic, write_once
from settings.load import ROOT
from settings.schema import RayServeSettings
from stack.folders import Folders

HEAD = RAY.part
MANAGER = "rayserve"
LOOPBACK = frozenset({"127.0.0.1", "localhost"})
CLUSTER_FILE = "cluster_token"  # of Ray's own ports
JOINED = "joined"  # file that names a joined cluster while this stack's models may run in it
LEAVE_S = 300.0


def environment(engine: RayServeSettings, folders: Folders) -> dict[str, str]:
    """Return the environment of every process of the cluster; other nodes must be started with the same."""
    return {
        **_near(engine.host),
        "PYTHONPATH": os.fspath(ROOT),
        "TMPDIR": os.fspath(folders.temporary),
        "RAY_TMPDIR": os.fspath(folders.temporary),
        "RAY_USAGE_STATS_ENABLED": "0",
        **_token(engine, folders),
        # One event loop instead of two in proxy and replica, log lines written in hundreds: more requests a second.
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
        # For a batch and its answers: gRPC's largest message instead of its default of 4 MB.
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(2**31 - 1),
        # A handler that fails its golden answers would fail them again.
        "RAY_SERVE_MAX_PER_REPLICA_RETRY_COUNT": "1",
        # Ray would give its workers a lower priority than all other processes on this machine.
        "RAY_worker_niceness": "0",
        # Nothing reads Ray's own metrics here, and collecting them costs CPU time.
        "RAY_enable_metrics_collection": "0",
        "RAY_enable_open_telemetry": "0",
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
    }


def _near(host: str) -> dict[str, str]:
    """Return Ray's flag for a node on loopback; without it, Ray uses an address that other machines reach."""
    return {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if host in LOOPBACK else {}


def _token(engine: RayServeSettings, folders: Folders) -> dict[str, str]:
    """Return the settings of this stack's token: without one, anybody who reaches Ray's ports can run code.

    A joined cluster has its own token, or none; the caller's environment names it as Ray documents.
    """
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": os.fspath(folders.ray / CLUSTER_FILE)}
    return own if engine.address is None else {}


def manager_environment(engine: RayServeSettings, folders: Folders) -> dict[str, str]:
    """Return the environment of the manager, whose threads have no event loop that a handle could share."""
    near = {} if engine.address is None else _near(engine.address.rpartition(":")[0])
    return {**environment(engine, folders), **near, "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1"}


def prepare(folders: Folders, engine: RayServeSettings | None = None) -> None:
    """Create the folders; `engine` is given where a cluster may be joined. Raises ConfigError where Ray is missing."""
    check_installed(RAY)
    folders.make_temporary()
    folders.forget_fetched()
    folders.ray.mkdir(parents=True, exist_ok=True)
    folders.ray.chmod(0o700)
    if engine is not None and engine.address is not None:
        write_atomic(folders.ray / JOINED, f"{engine.address}\n{(ROOT / engine.key_file).with_name('secret')}\n")
    write_once(folders.ray / CLUSTER_FILE, secrets.token_hex(32))


def leave(folders: Folders) -> None:
    """Remove this stack's models from a joined cluster; the stack's own cluster ended with its head.

    Raises StackError with the reason when they are still there.
    """
    joined = folders.ray / JOINED
    if not joined.exists():
        return
    address, secret = joined.read_text().splitlines()
    command = (sys.executable, "-m", "engines.ray.leave", address, secret)
    env = {**os.environ, **_near(address.rpartition(":")[0]), "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=LEAVE_S, check=False)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("error: ")] or ["it logged nothing"]
        raise StackError(f"models may run on in the cluster at {address}: {said[-1].removeprefix('error: ')}")
    joined.unlink()
