"""Several bench.bare processes that run at the same time, as the workers of a server do."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.server import Failed
from settings.load import ROOT

Mode = Literal["loop", "handle"]


@dataclass(frozen=True)
class BareWorkers:
    """Loaded and idle, until they are asked for a rate."""

    processes: tuple["subprocess.Popen[str]", ...]

    def rate(self, mode: Mode, seconds: float) -> float:
        """Pictures a second of all of them together; raises Failed when one has ended."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(f"{mode} {seconds}\n")
            process.stdin.flush()
        return sum(float(str(_line(process))) for process in self.processes)


@contextmanager
def bare_workers(folder: Path, pictures: Path, count: int) -> Iterator[BareWorkers]:
    """Start them and wait until each has loaded the archive."""
    command = [sys.executable, "-m", "bench.bare", str(folder), str(pictures)]
    # Their handler must be the archive's, and torch, where something imports it, must not take all cores.
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = tuple(
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(count)
    )
    try:
        for process in processes:
            _line(process)
        yield BareWorkers(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


def _line(process: "subprocess.Popen[str]") -> object:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise Failed(f"a process without a server ended with {process.wait()}")
    return json.loads(line)
