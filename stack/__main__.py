"""The commands of the local stack: `python -m stack`. The service `keeper` runs `keep`."""

import logging
import sys
from collections.abc import Sequence

import commands
import engines
import logs
import settings
from delivery.rollout import restore
from errors import MarinaError, StackError
from settings import Settings
from settings.schema import EngineHostSettings
from stack import lifecycle, processes, ray_serve, tail
from stack.folders import Folders
from stack.local_services import KEEPER, Service, check_ports, edge_service, services, started_services

USAGE = """\
usage: python -m stack COMMAND [hydra overrides]

  up         start what does not run yet, and return when everything is ready
  down       stop everything that runs
  status     print what runs; exit status 0: everything is ready
  logs       print the logs of all services, and follow them
  run NAME   run one service in the foreground
  edge       start the edge that `python -m edge` built
"""


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    if not arguments or arguments[0] not in COMMANDS:
        sys.stderr.write(USAGE)
        return 2
    if arguments[0] == "keep":
        logs.configure_command(unattended=True)
    else:
        logs.configure_command(level=logging.WARNING)
    try:
        return COMMANDS[arguments[0]](tuple(arguments[1:]))
    except MarinaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what this call started is stopped", file=sys.stderr)
        return 130


def _up(overrides: tuple[str, ...]) -> int:
    loaded = settings.load(overrides)
    folders = Folders.of(loaded)
    stack = services(loaded, overrides)

    def start(wanted: Sequence[Service]) -> list[str]:
        return lifecycle.up(tuple(wanted), folders, ready=lambda name: print(f"{name} is ready", flush=True))

    # The keeper starts last, because this command restores and reports the models.
    started = start([service for service in stack if service.name != KEEPER])
    try:
        if {engines.profile(loaded).part, ray_serve.MANAGER} & set(started):
            for outcome in restore(loaded):
                on = f" on {outcome.where}" if outcome.where else ""
                print(f"{outcome.model} {outcome.version} serves again{on}", flush=True)
    finally:
        started += start(stack)
    if not started:
        print("everything runs already")
    if others := lifecycle.started_otherwise(stack, folders):
        print(f"started with other settings: {', '.join(others)}; `make down`, then `make up` applies the new ones")
    return 0


def _edge(overrides: tuple[str, ...]) -> int:
    """Start the edge that `python -m edge` built."""
    loaded = settings.load(overrides)
    lifecycle.up((edge_service(loaded),), Folders.of(loaded))
    return 0


def _keep(overrides: tuple[str, ...]) -> int:
    """Start ended services again and restore the engine's models, until SIGTERM or Ctrl-C."""
    try:
        lifecycle.keep(settings.load(overrides), overrides)
    except KeyboardInterrupt:
        return 0


def _down(overrides: tuple[str, ...]) -> int:
    folders = Folders.of(settings.load(overrides))
    stopped = lifecycle.down(folders, last=lambda: ray_serve.leave(folders))
    print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")
    return 0


def _status(overrides: tuple[str, ...]) -> int:
    loaded = settings.load(overrides)
    found = lifecycle.status(started_services(loaded), Folders.of(loaded))
    for service in found:
        state = "ready" if service.ready else "not ready" if service.pid else "down"
        print(f"{service.name:<12}{state:<10}{f'pid {service.pid}' if service.pid else '-':<12}{service.url}")
    elsewhere = loaded.engine.hosts if loaded.engine.external else loaded.engine.nodes
    away = [node for node in elsewhere if not _show_node(loaded, node)]
    return 0 if all(service.ready for service in found) and not away else 1


def _show_node(loaded: Settings, node: EngineHostSettings) -> bool:
    """Print one line for an engine host that this stack does not start; return False when it does not answer."""
    with engines.connect(loaded, node) as engine:
        well = engine.answers()
    name = f"node {node.name}" if loaded.engine.nodes else node.name
    print(f"{name:<12}{'ready' if well else 'away':<10}{'-':<12}{node.inference_url}/")
    return well


def _logs(overrides: tuple[str, ...]) -> int:
    folders = Folders.of(settings.load(overrides))
    # nginx writes its access log beside its other files, and its own messages with the rest.
    files = [*sorted(folders.logs.glob("*.log")), *sorted(folders.state.glob("*/access.log"))]
    if not files:
        raise StackError("no logs yet; `make up` writes them")
    for line in tail.follow(files):
        print(line, flush=True)
    return 0


def _run(arguments: tuple[str, ...]) -> int:
    """Run one service in the foreground until it ends or Ctrl-C."""
    if not arguments:
        raise StackError("usage: python -m stack run NAME [hydra overrides]")
    name, *overrides = arguments
    loaded = settings.load(overrides)
    folders = Folders.of(loaded)
    known = {service.name: service for service in started_services(loaded, tuple(overrides))}
    chosen = known.get(name)
    if chosen is None and loaded.engine.external and name == engines.profile(loaded).part:
        raise StackError(f"engine.external is true: {name} is started and stopped by others, where it runs")
    if chosen is None:
        raise StackError(f"no service {name!r}; there are {', '.join(known)}")
    check_ports(chosen)
    where = "" if chosen.ready_url is None else f" on {chosen.ready_url.rsplit('/', 1)[0]}/"
    print(f"{name}{where} (Ctrl-C ends it)", flush=True)
    with lifecycle.interruptible():
        try:
            return processes.start(chosen, folders, foreground=True).wait()
        finally:
            processes.stop_service(name, folders)


COMMANDS = {"up": _up, "down": _down, "status": _status, "logs": _logs, "run": _run, "edge": _edge, "keep": _keep}

if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE, level=logging.WARNING))
