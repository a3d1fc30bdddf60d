"""Up, down, status and keeping of the local stack.

`up` is all or nothing for the services that it starts: an error, Ctrl-C or SIGTERM stops them, and leaves alone those
that ran before. A lock keeps two calls on one stack from starting the same service twice.

`keep` is a service of the stack itself, the last to start and among the first to stop. It starts services again that
ended by themselves, and gives the engine its models back. It watches processes, not answers: a service that hangs is
left to monitoring.
"""

import contextlib
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

import requests

from delivery.model_keeper import ModelKeeper
from errors import MarinaError, PortInUse, StackError
from files import file_lock
from settings import Settings
from stack import processes, tail
from stack.folders import Folders
from stack.local_services import Service, check_ports, listeners, started_services

log = logging.getLogger(__name__)
# The order in which they stop: first the one that restarts others, then clients before their servers.
NAMES = ("keeper", "edge", "scaler", "gateway", "filebrowser", "s3", "torchserve", "rayserve", "ray")


@dataclass(frozen=True)
class ServiceStatus:
    """One line of `make status`."""

    name: str
    pid: int | None
    ready: bool
    url: str


def up(stack: tuple[Service, ...], folders: Folders, *, ready: Callable[[str], None] = lambda name: None) -> list[str]:
    """Start the services that are down and return their names when all are ready; calls `ready` for each.

    Raises StackError with one line that says why a service does not start.
    """
    with _stack_lock(folders), interruptible():
        missing = _missing(stack, folders)
        for service in missing:
            if processes.stop_service(service.name, folders):
                log.warning("stopped what was left of %s", service.name)
            check_ports(service)
        try:
            started = [(service, processes.start(service, folders)) for service in missing]
            for service, process in started:
                _wait_until_ready(service, process, folders)
                ready(service.name)
        except BaseException:
            for service in reversed(missing):
                processes.stop_service(service.name, folders)
            raise
        return [service.name for service in missing]


def _stack_lock(folders: Folders) -> contextlib.AbstractContextManager[None]:
    waiting = "another up or down works on this stack; waiting for it"
    return file_lock(folders.state / "lock", on_wait=lambda: log.warning(waiting))


def _missing(stack: tuple[Service, ...], folders: Folders) -> list[Service]:
    """Return the services that are down, and those that end with them."""
    down = {service.name for service in stack if not processes.runs(service.name, folders)}
    return [service for service in stack if service.name in down or service.within in down]


def started_otherwise(stack: tuple[Service, ...], folders: Folders) -> list[str]:
    """Return the running programs of this project that got other overrides than `stack` gives them.

    `up` leaves them as they are.
    """
    ours = [service for service in stack if service.command[0] == sys.executable]
    found = [(service, processes.main_process(service.name, folders)) for service in ours]
    return [
        service.name
        for service, process in found
        if process is not None and processes.arguments(process) not in {None, service.command[1:]}
    ]


def down(folders: Folders, *, last: Callable[[], None] = lambda: None) -> list[str]:
    """Stop every service, even when its starter was killed; return the names of those that ran.

    `last` is called when they have stopped and their keys still exist; when it raises, the files are kept.
    """
    with _stack_lock(folders):
        stopped = [name for name in NAMES if processes.stop_service(name, folders)]
        last()
        folders.remove_temporary()
    return stopped


def status(stack: tuple[Service, ...], folders: Folders) -> list[ServiceStatus]:
    """Return the state of each service: its pid when it runs, and whether it answers."""
    return [_status(service, folders) for service in stack]


def _status(service: Service, folders: Folders) -> ServiceStatus:
    process = processes.main_process(service.name, folders)
    address = "-" if service.ready_url is None else f"{service.ready_url.rsplit('/', 1)[0]}/"
    return ServiceStatus(
        service.name, process.pid if process else None, process is not None and _answers(service), address
    )


def _wait_until_ready(service: Service, process: "subprocess.Popen[bytes]", folders: Folders) -> None:
    deadline = time.monotonic() + service.timeout_s
    while not _answers(service):
        if process.poll() is not None:
            raise StackError(
                f"{service.name} ended with status {process.returncode}: {_last_log_line(service.name, folders)}"
            )
        if time.monotonic() > deadline:
            raise StackError(
                f"{service.name} was not ready after {service.timeout_s:g} s: {_last_log_line(service.name, folders)}"
            )
        time.sleep(0.1)
    _check_owner(service, folders)


def _check_owner(service: Service, folders: Folders) -> None:
    """Check that the answer came from the started process: another may have taken the port meanwhile."""
    if not service.ports:
        return
    ours = {process.pid for process in processes.find(service.name, folders)}
    main_port = service.ports[0].number
    owner = listeners().get(main_port)
    if owner is not None and owner not in ours:
        raise PortInUse(f"{service.name}: port {main_port} was taken by pid {owner} while starting")


def _answers(service: Service) -> bool:
    """Return True when the service answers with success, or with its own refusal of a request without a key."""
    if service.ready_url is None:
        return True
    try:
        return requests.get(service.ready_url, timeout=2).status_code in {200, service.refusal}
    except requests.RequestException:
        return False


def _last_log_line(name: str, folders: Folders) -> str:
    path = processes.log_file(name, folders)
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()] if path.exists() else []
    said = lines[-1].strip() if lines else "it logged nothing"
    if line := tail.parsed(said):
        said = tail.event_of(line) or said
    return f"{said} (full log: {path})"


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGTERM into KeyboardInterrupt, so that a stopped program cleans up as after Ctrl-C."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


INTERVAL_S = 1.0
# The pauses before a service that does not start is started again; the last one repeats.
RETRY_S = (5.0, 15.0, 60.0)


class ServiceKeeper:
    """Starts services again that ended by themselves; `stack` returns those that should run."""

    def __init__(self, stack: Callable[[], tuple[Service, ...]], folders: Folders) -> None:
        self._stack = stack
        self._folders = folders
        self._down: set[str] = set()
        self._failures = 0
        self._rests_until = 0.0

    def turn(self) -> bool:
        """Restart the services that have ended; return True when there were any."""
        stack = self._stack()
        self._down |= {service.name for service in stack if processes.has_ended(service.name, self._folders)}
        missing = tuple(service for service in stack if service.name in self._down)
        if not missing or time.monotonic() < self._rests_until:
            return False
        log.warning("%s ended, and is started again", ", ".join(service.name for service in missing))
        try:
            started = up(missing, self._folders)
        except Exception as error:
            expected = isinstance(error, MarinaError | OSError)
            log.error("not started again yet: %s", error, exc_info=None if expected else error)
            self._rests_until = time.monotonic() + RETRY_S[min(self._failures, len(RETRY_S) - 1)]
            self._failures += 1
            return False
        self._down.clear()
        self._failures = 0
        return bool(started)


def keep(settings: Settings, overrides: tuple[str, ...]) -> NoReturn:
    """Keep services and models until SIGTERM or Ctrl-C, which raises KeyboardInterrupt."""
    kept = ServiceKeeper(lambda: started_services(settings, overrides), Folders.of(settings))
    models = ModelKeeper(settings)
    next_turn = 0.0
    with interruptible():
        while True:
            restarted = kept.turn()
            if restarted or time.monotonic() >= next_turn:
                models.turn()
                next_turn = time.monotonic() + models.pause_s
            time.sleep(min(INTERVAL_S, models.pause_s))
