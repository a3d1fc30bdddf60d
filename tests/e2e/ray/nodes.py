"""Worker nodes of a cluster as processes of this machine, each with its own cores; they can be killed like hosts."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.e2e.ray.node_process import READY

MARK = "MARINA_TEST_NODE"
PATIENCE_S = 180.0


@dataclass
class WorkerNode:
    """A Ray node that joins the head at `address`."""

    name: str
    address: str
    cpus: float
    env: Mapping[str, str]
    log: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def start(self) -> None:
        """Returns when the node has joined."""
        joined = self._joined()
        program = Path(__file__).with_name("node_process.py")
        command = [sys.executable, str(program), self.address, self.name, f"{self.cpus:g}"]
        with self.log.open("ab") as log:
            subprocess.Popen(
                command, env={**os.environ, **self.env, MARK: self.mark}, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(lambda: self._joined() > joined, f"node {self.name} joins, see {self.log}")

    def _joined(self) -> int:
        return self.log.read_text(errors="replace").count(READY) if self.log.exists() else 0

    def processes(self) -> list[psutil.Process]:
        """All that belongs to the node, its workers among them."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def kill(self) -> None:
        """As a power cut: everything at once, nothing asked."""
        while found := self.processes():
            for process in found:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGKILL)
            psutil.wait_procs(found, timeout=5)


def wait_until(true: Callable[[], bool], what: str, seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.2)
