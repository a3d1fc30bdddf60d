"""The processes of the stack: started in sessions of their own, found again later, stopped whole.

A part is found again by three marks, because each alone can be lost: the session that was recorded at its start (lost
when the starter is killed), the state folder in its environment (nginx overwrites that with its title), the state
folder on its command line (nginx workers have none). What descends from a marked process belongs to it.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import psutil

from stack.folders import Folders
from stack.parts import Part

MARK = "MARINA_STACK"
NGINX = ("filebrowser", "edge")  # parts whose folder below the state folder has their name
STOP_TIMEOUT_S = 20.0
LARGEST_LOG = 20 * 2**20  # what a part with a longer log begins with is a new one


def start(part: Part, folders: Folders, *, foreground: bool = False) -> "subprocess.Popen[bytes]":
    """Start one part in a session of its own, so that Ctrl-C reaches it through `stop` and not beside it.

    In the background its output goes to `logs/<part>.log`, in the foreground to the caller's terminal.
    """
    part.prepare()
    # TorchServe writes its log itself, docker/log4j2.xml says how; into the same file, where the words of Java come.
    log = {"MARINA_LOG_TO": "console" if foreground else "file", "MARINA_LOG_FILE": str(log_file(part.name, folders))}
    env = {**os.environ, **part.env, **log, MARK: str(folders.state), "MARINA_PART": part.name}
    with _output(part.name, folders, foreground=foreground) as output:
        process = subprocess.Popen(
            part.command,
            env=env,
            cwd=part.cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if foreground else subprocess.STDOUT,
            start_new_session=True,
        )
    _record(part.name, folders).write_text(f"{process.pid} {psutil.Process(process.pid).create_time()}\n")
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
    """Where the output of a part in the background goes."""
    folders.logs.mkdir(parents=True, exist_ok=True)
    return folders.logs / f"{name}.log"


def find(name: str, folders: Folders) -> list[psutil.Process]:
    """All running processes of one part, the first started first; empty when it is down."""
    running = {process.pid: process for process in _alive()}
    marked = {pid for pid, process in running.items() if _is_marked(process, name, folders)}
    marked |= _recorded(name, folders, running)
    children = {child.pid: child for pid in marked for child in _children(running[pid])}
    found = {pid: running[pid] for pid in marked} | children
    return sorted(found.values(), key=_started)


def runs(name: str, folders: Folders) -> bool:
    """Whether the part is up: what the process that was started has left behind does not make a whole part."""
    return main_process(name, folders) is not None


def main_process(name: str, folders: Folders) -> psutil.Process | None:
    """The process that was started for the part, if it still runs.

    Without a record of it, the first of those that belong to the part.
    """
    found = find(name, folders)
    recorded = _record_of(name, folders)
    if recorded is not None:
        found = [process for process in found if process.pid == recorded[0]]
    return found[0] if found else None


def has_ended(name: str, folders: Folders) -> bool:
    """Say whether the process that was started has ended, though nobody stopped the part; cheaper than `runs`."""
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
    """End processes: asked first, so that requests in flight are answered, and killed after `timeout_s` seconds."""
    left = list(processes)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, left = psutil.wait_procs(left, timeout=timeout_s)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=timeout_s)


def stop_part(name: str, folders: Folders) -> bool:
    """Stop all that is left of a part; False when nothing was."""
    deadline = time.monotonic() + 2 * STOP_TIMEOUT_S
    stopped = False
    # Again until nothing is found: a dying parent may have started a child after it was listed.
    while (found := find(name, folders)) and time.monotonic() < deadline:
        stopped = True
        stop(_leaders(found))
        stop(find(name, folders), timeout_s=5)
    _record(name, folders).unlink(missing_ok=True)
    return stopped


def _leaders(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those who end their own workers in good order: TorchServe's launcher and its Java, nginx's and uvicorn's master.

    A worker asked to end before its master would be missed by it, and be started again.
    """
    pids = {process.pid for process in processes}
    tops = {process.pid for process in processes if _parent(process) not in pids}
    return [p for p in processes if p.pid in tops or (_parent(p) in tops and _name(p) == "java")]


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
    """Members of the session that the record names, unless its number has passed to a stranger."""
    record = _record_of(name, folders)
    if record is None:
        return set()
    pid, created = record
    leader = running.get(pid)
    if leader is not None and abs(_started(leader) - created) > 1:
        return set()
    return {p for p, process in running.items() if _session(p) == pid and _started(process) >= created - 1}


def _record_of(name: str, folders: Folders) -> tuple[int, float] | None:
    """Process number and start (seconds since 1970) of the process that was started; None without a record."""
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


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return str(process.name())
    return ""
