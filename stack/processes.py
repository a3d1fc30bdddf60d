"""The processes of the stack: started in their own sessions, found again later, stopped with all children.

Three marks find the processes of a service, because each alone can be lost: the recorded session (lost when the
starter is killed), the state folder in the environment (nginx overwrites it with its title), and the state folder on
the command line (nginx workers have none). The descendants of a marked process belong to the service too.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import psutil

from files import write_atomic
from stack.folders import Folders
from stack.local_services import Service

MARK = "MARINA_STACK"
NGINX = ("filebrowser", "edge")  # services whose folder below the state folder has their name
STOP_TIMEOUT_S = 40.0  # longer than TorchServe may answer requests and end, see engines/torchserve/process
REAPED_S = 5.0  # the first process of some containers reaps every few seconds, that of others never
POLL_S = 0.05
LARGEST_LOG = 20 * 2**20  # bytes; a service with a longer log starts a new one


def start(service: Service, folders: Folders, *, foreground: bool = False) -> "subprocess.Popen[bytes]":
    """Start one service in its own session, so that Ctrl-C does not reach it directly; `stop` ends it.

    In the background its output goes to `logs/SERVICE.log`, in the foreground to the caller's terminal.
    """
    service.prepare()
    # TorchServe writes its log itself, by docker/log4j2.xml, into the same file as Java's own output.
    log = {
        "MARINA_LOG_TO": "console" if foreground else "file",
        "MARINA_LOG_FILE": str(log_file(service.name, folders)),
    }
    env = {**os.environ, **service.env, **log, MARK: str(folders.state), "MARINA_PART": service.name}
    with _output(service.name, folders, foreground=foreground) as output:
        process = subprocess.Popen(
            service.command,
            env=env,
            cwd=service.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if foreground else subprocess.STDOUT,
            start_new_session=True,
        )
    write_atomic(_record(service.name, folders), f"{process.pid} {psutil.Process(process.pid).create_time()}\n")
    return process


@contextlib.contextmanager
def _output(name: str, folders: Folders, *, foreground: bool) -> Iterator[BinaryIO | None]:
    if foreground:
        yield None
        return
    file = log_file(name, folders)
    if file.exists() and file.stat().st_size > LARGEST_LOG:
        file.replace(file.with_name(f"{file.name}.1"))
    with file.open("ab") as log:
        yield log


def log_file(name: str, folders: Folders) -> Path:
    """Return the log file of a service in the background."""
    folders.logs.mkdir(parents=True, exist_ok=True)
    return folders.logs / f"{name}.log"


def find(name: str, folders: Folders) -> list[psutil.Process]:
    """Return all running processes of a service, in the order of their start; none when it is down."""
    running = {process.pid: process for process in _alive()}
    marked = {pid for pid, process in running.items() if _is_marked(process, name, folders)}
    marked |= _recorded(name, folders, running)
    children = {child.pid: child for pid in marked for child in _children(running[pid])}
    found = {pid: running[pid] for pid in marked} | children
    return sorted(found.values(), key=_started)


def runs(name: str, folders: Folders) -> bool:
    """Return True when the process that was started still runs; its children alone do not count as the service."""
    return main_process(name, folders) is not None


def main_process(name: str, folders: Folders) -> psutil.Process | None:
    """Return the process that was started for the service, if it still runs.

    Without a record of it, the first of those that belong to the service.
    """
    found = find(name, folders)
    recorded = _record_of(name, folders)
    if recorded is not None:
        found = [process for process in found if process.pid == recorded[0]]
    return found[0] if found else None


def arguments(process: psutil.Process) -> tuple[str, ...] | None:
    """Return the words behind the program on a process's command line; None when it has just ended."""
    with contextlib.suppress(psutil.Error):
        return tuple(process.cmdline()[1:])
    return None


def has_ended(name: str, folders: Folders) -> bool:
    """Return True when the started process ended and the service was not stopped; cheaper than `runs`."""
    record = _record_of(name, folders)
    if record is None:
        return False
    pid, created = record
    try:
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - created) > 1
    except psutil.NoSuchProcess:
        return True


def stop(processes: Iterable[psutil.Process], timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Terminate processes, so that requests in flight are answered, and kill them after `timeout_s` seconds."""
    left = list(processes)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    left = _still_running(left, timeout_s)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _still_running(left, timeout_s)


def _still_running(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait for the end of processes, and return those that run after `timeout_s` seconds.

    A zombie has ended. Those of this process are reaped; others get `REAPED_S` seconds: some parents never reap.
    """
    deadline = time.monotonic() + timeout_s
    left = processes
    while left and time.monotonic() < deadline:
        if all(_status(process) == psutil.STATUS_ZOMBIE for process in left):
            psutil.wait_procs(left, timeout=REAPED_S)
            return []
        _, left = psutil.wait_procs(left, timeout=POLL_S)
    return [process for process in left if _status(process) not in {psutil.STATUS_ZOMBIE, None}]


def stop_service(name: str, folders: Folders) -> bool:
    """Stop all processes of a service; return False when there were none."""
    deadline = time.monotonic() + 2 * STOP_TIMEOUT_S
    stopped = False
    # Repeated until no process is found: a dying parent may have started a child after the listing.
    while (found := find(name, folders)) and time.monotonic() < deadline:
        stopped = True
        stop(_leaders(found))
        stop(find(name, folders), timeout_s=5)
    _record(name, folders).unlink(missing_ok=True)
    return stopped


def _leaders(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return the processes that end their workers: TorchServe's first process, nginx's and uvicorn's master.

    A master would start a worker again that was terminated before it, and TorchServe's first process ends Java when its
    requests are answered.
    """
    pids = {process.pid for process in processes}
    return [process for process in processes if _parent(process) not in pids]


def _alive() -> list[psutil.Process]:
    return [p for p in psutil.process_iter() if _status(p) not in {psutil.STATUS_ZOMBIE, None}]


def _is_marked(process: psutil.Process, name: str, folders: Folders) -> bool:
    try:
        if process.uids().real != os.getuid():
            return False
        env = process.environ()
        if env.get(MARK) == str(folders.state) and env.get("MARINA_PART") == name:
            return True
        return name in NGINX and f"-p {folders.state / name} " in " ".join(process.cmdline()) + " "
    except psutil.Error:
        return False


def _recorded(name: str, folders: Folders, running: dict[int, psutil.Process]) -> set[int]:
    """Return the members of the recorded session, unless its number now belongs to another process."""
    record = _record_of(name, folders)
    if record is None:
        return set()
    pid, created = record
    leader = running.get(pid)
    if leader is not None and abs(_started(leader) - created) > 1:
        return set()
    return {p for p, process in running.items() if _session(p) == pid and _started(process) >= created - 1}


def _record_of(name: str, folders: Folders) -> tuple[int, float] | None:
    """Return the pid and start (seconds since 1970) of the started process; None without a record."""
    try:
        pid, created = _record(name, folders).read_text().split()
        return int(pid), float(created)
    except (OSError, ValueError):
        return None


def _record(name: str, folders: Folders) -> Path:
    folders.state.mkdir(parents=True, exist_ok=True)
    return folders.state / f"{name}.pid"


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _started(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        return float(process.create_time())
    return 0.0


def _status(process: psutil.Process) -> str | None:
    with contextlib.suppress(psutil.Error):
        return str(process.status())
    return None


def _children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return list(process.children(recursive=True))
    return []


def _parent(process: psutil.Process) -> int | None:
    with contextlib.suppress(psutil.Error):
        return int(process.ppid())
    return None
