"""`python -m engines.ray.head`: runs the head of a cluster of our own, until SIGTERM or until a process of it ends.

    head ──▶ gcs_server      the state of the cluster
         └─▶ raylet ──▶ controller, Frontends and workers

`ray start --head` would also start a server for remote drivers, and a dashboard with its agent, which nothing here
uses. It would log coloured text, and on SIGTERM pass its work to the other nodes for half a minute. On SIGTERM, this
head ends every process of the cluster, those of the other nodes that have joined it included.
"""

import argparse
import contextlib
import importlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import grpc
import psutil
from ray._private import services
from ray._private.node import Node
from ray._private.parameter import RayParams
from ray.core.generated.gcs_pb2 import GcsNodeInfo
from ray.exceptions import RayError

from engines.python.process_setup import log_output, log_program
from engines.ray.connect import call, token

log = logging.getLogger(__name__)

LOOK_S = 0.2
ANSWER_S = 2.0
SHUT_DOWN = "/ray.rpc.NodeManagerService/ShutdownRaylet"  # without parameters, it ends at once
STAND_IN = (sys.executable, "-I", "-S", str(Path(__file__).with_name("leftovers.py")))
NONE = -1  # Ray's port number of a process that does not run


def main(arguments: Sequence[str]) -> NoReturn:
    """Run until SIGTERM or Ctrl-C; exit with status 1 when a process of the head has ended."""
    given = _arguments().parse_args(arguments)
    log_program()
    log_output()
    signal.signal(signal.SIGTERM, _interrupt)
    head, status = None, 1
    try:
        head = _started(given)
        log.info("the head runs at %s:%s", given.host, given.port)
        _watch(head)
    except KeyboardInterrupt:
        status = 0
    except Exception:
        # The edge of the process: any error while Ray starts ends it.
        log.exception("Ray does not start")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if head is not None:
        _end_others(head)
    _end_all()
    os._exit(status)


class Head(Node):  # type: ignore[misc]  # Ray's own is untyped
    """A head without the processes that the cluster does not need."""

    def start_api_server(self, **_: Any) -> None:
        """Start none: without a dashboard, the server would only report usage."""

    def start_raylet(self, *given: Any, **named: Any) -> None:
        """Start the raylet without the dashboard's agent."""
        compiled = importlib.import_module("ray._raylet")
        for name in ("DASHBOARD_AGENT_LISTEN_PORT_NAME", "METRICS_AGENT_PORT_NAME", "METRICS_EXPORT_PORT_NAME"):
            compiled.persist_port(self.get_session_dir_path(), self.node_id, getattr(compiled, name), NONE)
        start = services.start_ray_process
        services.start_ray_process = partial(_start_without_agent, start)
        try:
            super().start_raylet(*given, **named)
        finally:
            services.start_ray_process = start


def _start_without_agent(start: Any, command: list[str], *given: Any, **named: Any) -> Any:
    option = "--dashboard_agent_command="
    instead = option + subprocess.list2cmdline(STAND_IN)
    return start([instead if word.startswith(option) else word for word in command], *given, **named)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engines.ray.head", description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument(
        "--folder", required=True, help="folder of its sessions; use a short path, because it contains sockets"
    )
    parser.add_argument("--object-store-bytes", required=True, type=int)
    parser.add_argument("--cpus", type=float, help="cores that it offers; all of the machine by default")
    parser.add_argument("--dashboard-port", type=int, help="port of the dashboard; none by default")
    return parser


def _started(given: argparse.Namespace) -> Node:
    params = RayParams(
        node_ip_address=given.host,
        node_name=given.host,
        gcs_server_port=given.port,
        num_cpus=given.cpus,
        object_store_memory=given.object_store_bytes,
        temp_dir=given.folder,
        include_dashboard=given.dashboard_port is not None,
        dashboard_host="127.0.0.1",
        dashboard_port=given.dashboard_port,
        no_monitor=True,  # the autoscaler of machines
        include_log_monitor=False,  # workers' output on a driver's screen
    )
    # `spawn_reaper` has the kernel end gcs_server and raylet with this process, however that ends.
    kind = Head if given.dashboard_port is None else Node
    return kind(params, head=True, shutdown_at_exit=False, spawn_reaper=True)


def _watch(head: Node) -> None:
    """Wait until a process of the head has ended."""
    while not (ended := head.dead_processes()):
        time.sleep(LOOK_S)
    for kind, process in ended:
        log.error("the head's %s ended with status %s", kind, process.returncode)


def _end_others(head: Node) -> None:
    """End the other nodes at once; without their head, they would end only after a minute."""
    try:
        found = head.get_gcs_client().get_all_node_info(timeout=ANSWER_S)
    except (RayError, TimeoutError) as error:
        log.warning("other nodes, if there are any, end by themselves: %s", type(error).__name__)
        return
    addresses = [
        f"{node.node_manager_address}:{node.node_manager_port}"
        for identity, node in found.items()
        if identity.hex() != head.node_id and node.state == GcsNodeInfo.GcsNodeState.ALIVE
    ]
    if addresses:
        with ThreadPoolExecutor(len(addresses)) as pool:
            list(pool.map(_end_node, addresses))


def _end_node(address: str) -> None:
    status, _ = call(address, SHUT_DOWN, ANSWER_S, token())
    # The node ends before its answer, or right after.
    if status not in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE):
        log.warning("the node at %s was not ended: %s", address, status.name)


def _end_all() -> None:
    """End all processes that this one has started, at once: clients wait for the Frontend, not for them."""
    found = psutil.Process().children(recursive=True)
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(found, timeout=ANSWER_S)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main(sys.argv[1:])
