"""The container of the doctor: whether it reaches the programs of its host."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import psutil

from delivery.doctor.check import Check, Result, closed, not_checked, warning
from delivery.doctor.deployment import Deployment

MARK = Path("/.dockerenv")  # Docker makes it in every container
ANY_PORT, TIMEOUT_S = 1, 1.0  # a host that can be reached refuses the connection, or accepts it

Connect = Callable[[tuple[str, int], float], socket.socket]


def host_reach(addresses: Iterator[IPv4Address], connect: Connect = socket.create_connection) -> Result:
    """Report whether the host answers at one of its addresses on the networks of this container."""
    found = [str(address) for address in addresses if _answers(address, connect)]
    if found:
        return warning(f"it answers at {', '.join(found)}: models reach every port that is open on all its addresses")
    return closed("it does not answer on the networks of this container")


def host_addresses() -> Iterator[IPv4Address]:
    """Yield the host's address on each network of this container: Docker takes the first one for it."""
    for found in psutil.net_if_addrs().values():
        for each in found:
            if each.family is socket.AF_INET and each.netmask:
                own = IPv4Interface(f"{each.address}/{each.netmask}")
                first = next(own.network.hosts())
                if not own.ip.is_loopback and first != own.ip:
                    yield first


def _answers(address: IPv4Address, connect: Connect) -> bool:
    try:
        with closing(connect((str(address), ANY_PORT), TIMEOUT_S)):
            return True
    except ConnectionRefusedError:
        return True
    except OSError:
        return False


def _host(_: Deployment) -> Result:
    return host_reach(host_addresses()) if MARK.exists() else not_checked("the doctor runs in no container")


CHECKS = (Check("the host, from the containers", "Docker 28, or a firewall: docs/containers.md", _host),)
