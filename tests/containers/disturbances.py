"""What may happen to the container of a part: killed, paused, cut off from networks, stopped; each ends by itself."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from docker.models.containers import Container

from tests.containers.project import Project
from tests.polling import wait_for

LASTS_S = 20.0


def kill(project: Project, part: str, program: str | None = None) -> None:
    """Kill with SIGKILL, as the host sees it, a container's first process, or its processes that run `program`."""
    container = project.container(part)
    first = psutil.Process(container.attrs["State"]["Pid"])
    chosen = [first] if program is None else [each for each in first.children(recursive=True) if _runs(each, program)]
    assert chosen, f"{part} runs no {program}"
    for process in chosen:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(chosen, timeout=30)


def _runs(process: psutil.Process, program: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return program in " ".join(process.cmdline())
    return False


def pause(project: Project, part: str) -> None:
    """Freeze every process of a part for a while."""
    container = project.container(part)
    container.pause()
    try:
        time.sleep(LASTS_S)
    finally:
        container.unpause()


def stop_and_start(project: Project, part: str) -> None:
    """`docker stop` and `docker start`."""
    project.run("docker", "stop", str(project.container(part).name))
    project.run("docker", "start", str(project.container(part).name))


def cut(project: Project, part: str, networks: Sequence[str]) -> None:
    """Take the host's end of a container's links down for a while: names and addresses stay, nothing gets through."""
    links = [_link(project, part, each) for each in networks]
    with _down(links):
        time.sleep(LASTS_S)


def disconnect(project: Project, part: str, networks: Sequence[str]) -> None:
    """`docker network disconnect` for a while, then `connect` with the names that Compose gave."""
    container = project.container(part)
    aliases = {each: _aliases(project, container, each) for each in networks}
    for each in networks:
        project.network(each).disconnect(container)
    try:
        time.sleep(LASTS_S)
    finally:
        for each in networks:
            project.network(each).connect(container, aliases=aliases[each])


def down_and_up(project: Project) -> None:
    """`make compose_down` and `make compose_up`."""
    project.make("compose_down")
    project.start()


def networks_of(project: Project, part: str) -> list[str]:
    """Return Compose's names of the networks of a part."""
    found = project.container(part).attrs["NetworkSettings"]["Networks"]
    return sorted(name.removeprefix(f"{project.name}_") for name in found)


def first_pid(project: Project, part: str) -> int:
    """Return the pid of a container's first process, as the host sees it."""
    return int(project.container(part).attrs["State"]["Pid"])


def wait_until_restarted(project: Project, part: str, before: int) -> None:
    """Wait until a container's first process is another one."""
    wait_for(lambda: first_pid(project, part) not in (0, before))


def _aliases(project: Project, container: Container, network: str) -> list[str]:
    found = container.attrs["NetworkSettings"]["Networks"][f"{project.name}_{network}"]
    return [name for name in found["Aliases"] or [] if not str(container.id).startswith(name)]


def _link(project: Project, part: str, network: str) -> str:
    """Return the name of the host's end of a container's link to a network."""
    container = project.container(part)
    address = container.attrs["NetworkSettings"]["Networks"][f"{project.name}_{network}"]["MacAddress"]
    [card] = [each for each in _cards(container) if _read(container, each, "address") == address]
    index = _read(container, card, "iflink")
    names = [each.name for each in Path("/sys/class/net").iterdir() if (each / "ifindex").read_text().strip() == index]
    [name] = names
    return name


def _cards(container: Container) -> list[str]:
    namespace = f"/proc/{container.attrs['State']['Pid']}/net/dev"
    lines = Path(namespace).read_text().splitlines()[2:]
    return [line.partition(":")[0].strip() for line in lines if "lo:" not in line]


def _read(container: Container, card: str, name: str) -> str:
    code, output = container.exec_run(["cat", f"/sys/class/net/{card}/{name}"])
    assert code == 0, output
    assert isinstance(output, bytes)  # without a stream
    return output.decode().strip()


@contextlib.contextmanager
def _down(links: Sequence[str]) -> Iterator[None]:
    assert os.getuid() == 0, "taking a container's link down needs root on the engine's machine"
    try:
        for each in links:
            subprocess.run(["ip", "link", "set", each, "down"], check=True)
        yield
    finally:
        for each in links:
            subprocess.run(["ip", "link", "set", each, "up"], check=True)
