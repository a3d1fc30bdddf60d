"""Java, TorchServe's frontend: started by TorchServe's own launcher, and reaped by this process.

The launcher starts Java in the background and ends with status 0, even if Java fails later. This process adopts Java
and every process that Java leaves behind.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from engines.torchserve.process import container_metrics
from errors import StackError

PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h
KILLED = 128  # a shell's status of a program that a signal ended is this and the number of the signal


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent has ended."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start(arguments: Sequence[str]) -> int:
    """Start TorchServe and return the process id of Java. Raises StackError when it does not start."""
    temporary = Path(tempfile.gettempdir())
    pid_file = temporary / ".model_server.pid"
    pid_file.unlink(missing_ok=True)
    # In a process group of its own, so that a signal from a terminal, or from an init to the group, reaches this
    # process alone. Workers must import the files of their archives, and none of the project.
    launcher = subprocess.run(
        [sys.executable, "-m", "ts.model_server", *arguments],
        env={**os.environ, "PYTHONPATH": "", **_metrics_environment(temporary)},
        process_group=0,
        check=False,
    )
    try:
        if launcher.returncode == 0:
            return int(pid_file.read_text())
    except (OSError, ValueError):
        pass
    raise StackError(f"TorchServe's launcher did not start Java (status {launcher.returncode})")


def _metrics_environment(temporary: Path) -> dict[str, str]:
    """Return the variables with which config.properties names the program of the system metrics, and its own."""
    folders = (temporary, Path.cwd())
    return {
        "MARINA_TS_SYSTEM_METRICS": container_metrics.__file__,
        container_metrics.FOLDERS: ":".join(map(str, folders)),
    }


def reap() -> dict[int, int]:
    """Reap every child that has ended; return the exit status of each by its process id."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            code = os.waitstatus_to_exitcode(status)
            ended[pid] = code if code >= 0 else KILLED - code
    return ended


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def children() -> list[int]:
    """Return the process ids of this process' children: after Java's end, the workers that it left."""
    found = []
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(pid) for pid in path.read_text().split()]
    return found


def make_room(model_store: Path) -> None:
    """Create the model store and remove what an earlier TorchServe left in its temporary folder.

    TorchServe does not fetch an archive that is there already, and never removes what it unpacked before a kill. A
    model store outside the temporary folder is kept, and so is one that is a mount of its own: it may be the store.
    """
    temporary = Path(tempfile.gettempdir()).resolve()
    left = [temporary / "models"]
    if model_store.resolve().is_relative_to(temporary) and not model_store.is_mount():
        left.append(model_store)
    for folder in left:
        for path in folder.glob("*"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    model_store.mkdir(parents=True, exist_ok=True)
