"""Who reaches whom: one attempt from each part to each port and address of the others, and to the host."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from stack.compose import BRIDGE_MODE, ISOLATING
from tests.containers.project import Project, engine

PARTS = ("front", "gateway", "gateway-spare", "torchserve", "filebrowser", "delivery")
# Every port that a part of the profile core listens on, or could.
PORTS = {
    "front": (5003, 5004),
    "gateway": (5003, 5004),
    "gateway-spare": (5003, 5004),
    "torchserve": (7070, 7071, 8080, 8081, 8082),
    "filebrowser": (5002,),
}
GATEWAYS = {(name, port) for name in ("gateway", "gateway-spare") for port in (5003, 5004)}
# What each part reaches; the gateways ask everybody for a key.
REACHED = {
    "front": set(),  # it reaches the gateways by their sockets
    "gateway": {("torchserve", 8080), ("torchserve", 8081), ("torchserve", 8082)} | GATEWAYS,
    "gateway-spare": {("torchserve", 8080), ("torchserve", 8081), ("torchserve", 8082)} | GATEWAYS,
    "torchserve": {("filebrowser", 5002)} | GATEWAYS,
    "filebrowser": set(),
    "delivery": {("torchserve", 8080), ("torchserve", 8081), ("filebrowser", 5002)} | GATEWAYS,
}
# Prints the places of its arguments that accept a connection; all are tried at once.
ATTEMPTS = """
for place in "$@"; do
    ( timeout 3 bash -c ": </dev/tcp/${place%:*}/${place#*:}" 2>/dev/null && echo "$place" ) &
done
wait
"""


def accepting(project: Project, part: str, places: list[str]) -> set[str]:
    """Return those of the places that accept a connection from a part."""
    return set(project.execute(part, "bash", "-c", ATTEMPTS, "-", *places).split())


def addresses(project: Project, part: str) -> list[str]:
    """Return the addresses of a part, one on each of its networks."""
    joined = project.container(part).attrs["NetworkSettings"]["Networks"].values()
    return [found["IPAddress"] for found in joined]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_reaches_what_it_needs_and_nothing_else(core: Project, part: str) -> None:
    places = {
        f"{address}:{port}": (other, port)
        for other, ports in PORTS.items()
        for address in addresses(core, other)
        for port in ports
        if other != part
    }
    found = {places[place] for place in accepting(core, part, list(places))}
    assert found == {one for one in REACHED[part] if one[0] != part}


def test_management_answers_on_one_network(core: Project) -> None:
    own = {f"{address}:{port}" for address in addresses(core, "torchserve") for port in (8080, 8081)}
    on_engine = core.container("torchserve").attrs["NetworkSettings"]["Networks"][f"{core.name}_engine"]["IPAddress"]
    assert accepting(core, "torchserve", sorted(own)) == {f"{on_engine}:8080", f"{on_engine}:8081"}


@pytest.mark.parametrize("part", ["gateway", "torchserve", "filebrowser", "delivery"])
def test_no_way_leads_out(core: Project, part: str) -> None:
    joined = core.container(part).attrs["NetworkSettings"]["Networks"].values()
    assert all(engine().networks.get(found["NetworkID"]).attrs["Internal"] for found in joined)


@contextmanager
def listening() -> Iterator[int]:
    """A program of the host that listens on all addresses; yields its port."""
    with socket.create_server(("0.0.0.0", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@contextmanager
def firewall(project: Project) -> Iterator[None]:
    """The rule of docs/containers.md, for the bridges of this project alone."""
    bridges = [f"br-{str(project.network(name).id)[:12]}" for name in ("engine", "archives", "watch")]
    rules = [["INPUT", "-i", bridge, "-m", "conntrack", "--ctstate", "NEW", "-j", "DROP"] for bridge in bridges]
    try:
        for rule in rules:
            subprocess.run(["iptables", "-I", *rule], check=True)
        yield
    finally:
        for rule in rules:
            subprocess.run(["iptables", "-D", *rule], check=False)


def host_addresses() -> list[str]:
    """Return every address of this machine, those on the networks of containers among them."""
    found = [each for addresses in psutil.net_if_addrs().values() for each in addresses]
    return [each.address for each in found if each.family is socket.AF_INET and each.address != "127.0.0.1"]


def test_the_host_is_out_of_reach_or_the_doctor_says_how_to_put_it_there(core: Project) -> None:
    isolating = int(str(engine().version()["Version"]).partition(".")[0]) >= ISOLATING
    env = (core.folder / "docker" / ".env").read_text()
    assert (f"{BRIDGE_MODE}=isolated" in env) is isolating
    with listening() as port:
        places = [f"{address}:{port}" for address in host_addresses()]
        assert bool(accepting(core, "torchserve", places)) is not isolating
        if isolating:
            return
        assert "warning     the host, from the containers" in doctor(core)
        if not shutil.which("iptables"):
            pytest.skip("this machine has no iptables")
        with firewall(core):
            assert accepting(core, "torchserve", places) == set()
            assert "closed      the host, from the containers" in doctor(core)
            assert core.get("/models").status_code == 200


def doctor(project: Project) -> str:
    """Return what the doctor reports inside the stack, whatever is open."""
    command = ("sh", "-c", "python -m delivery doctor; true")
    return project.execute("delivery", *command)
