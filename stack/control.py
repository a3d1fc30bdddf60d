"""Up, down and status of the local stack.

`up` is all or nothing for what it starts: an error, Ctrl-C or SIGTERM takes down the parts that this very call started
and leaves alone those that ran before. A lock keeps two calls on one stack from starting the same part twice.
"""

import contextlib
import fcntl
import logging
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

import requests

from errors import PortInUse, StackError
from stack import log_lines, ports, processes
from stack.folders import Folders
from stack.parts import Part

log = logging.getLogger(__name__)
# The order in which they stop: who would start others again first, then who asks before who answers.
NAMES = ("keeper", "edge", "scaler", "gateway", "filebrowser", "s3", "torchserve", "rayserve", "ray")


@dataclass(frozen=True)
class Status:
    """One line of `make status`."""

    name: str
    pid: int | None
    ready: bool
    url: str


def up(stack: tuple[Part, ...], folders: Folders, *, ready: Callable[[str], None] = lambda name: None) -> list[str]:
    """Start the parts that are down and return their names when all are ready; calls `ready` for each.

    Raises StackError with one line that says why a part does not start.
    """
    with _locked(folders), interruptible():
        missing = _missing(stack, folders)
        for part in missing:
            if processes.stop_part(part.name, folders):
                log.warning("what was left of %s is stopped", part.name)
            ports.check(part)
        try:
            started = [(part, processes.start(part, folders)) for part in missing]
            for part, process in started:
                _wait_until_ready(part, process, folders)
                ready(part.name)
        except BaseException:
            for part in reversed(missing):
                processes.stop_part(part.name, folders)
            raise
        return [part.name for part in missing]


def _missing(stack: tuple[Part, ...], folders: Folders) -> list[Part]:
    """What is down, and what cannot outlive it."""
    down = {part.name for part in stack if not processes.runs(part.name, folders)}
    return [part for part in stack if part.name in down or part.within in down]


def down(folders: Folders, *, last: Callable[[], None] = lambda: None) -> list[str]:
    """Stop every part, whoever started it and however it lost its starter; returns the names of those that ran.

    `last` is done when they have stopped and their keys are still there; what it raises keeps the files.
    """
    with _locked(folders):
        stopped = [name for name in NAMES if processes.stop_part(name, folders)]
        last()
        folders.remove_temporary()
    return stopped


def status(stack: tuple[Part, ...], folders: Folders) -> list[Status]:
    """How each part is: its pid when it runs, and whether it answers."""
    return [_status(part, folders) for part in stack]


def _status(part: Part, folders: Folders) -> Status:
    process = processes.main_process(part.name, folders)
    address = "-" if part.ready_url is None else f"{part.ready_url.rsplit('/', 1)[0]}/"
    return Status(part.name, process.pid if process else None, process is not None and _answers(part), address)


def _wait_until_ready(part: Part, process: "subprocess.Popen[bytes]", folders: Folders) -> None:
    deadline = time.monotonic() + part.timeout_s
    while not _answers(part):
        if process.poll() is not None:
            raise StackError(f"{part.name} ended with status {process.returncode}: {_last_words(part.name, folders)}")
        if time.monotonic() > deadline:
            raise StackError(f"{part.name} was not ready after {part.timeout_s:g} s: {_last_words(part.name, folders)}")
        time.sleep(0.1)
    _check_owner(part, folders)


def _check_owner(part: Part, folders: Folders) -> None:
    """Make sure that the answer came from our process: another may have taken the port since it was checked."""
    if not part.ports:
        return
    ours = {process.pid for process in processes.find(part.name, folders)}
    main_port = part.ports[0].number
    owner = ports.listeners().get(main_port)
    if owner is not None and owner not in ours:
        raise PortInUse(f"{part.name}: port {main_port} was taken by pid {owner} while starting")


def _answers(part: Part) -> bool:
    """Whether the part answers as itself: well, or with its own refusal of one without a key."""
    if part.ready_url is None:
        return True
    try:
        return requests.get(part.ready_url, timeout=2).status_code in {200, part.refusal}
    except requests.RequestException:
        return False


def _last_words(name: str, folders: Folders) -> str:
    path = processes.log_file(name, folders)
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()] if path.exists() else []
    said = lines[-1].strip() if lines else "it said nothing"
    if line := log_lines.parsed(said):
        said = log_lines.event_of(line) or said
    return f"{said} (all of it: {path})"


@contextlib.contextmanager
def _locked(folders: Folders) -> Iterator[None]:
    folders.state.mkdir(parents=True, exist_ok=True)
    with (folders.state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("another up or down works on this stack; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that what is stopped cleans up as after Ctrl-C."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
