"""The listening sockets of this machine, from the kernel's table."""

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

import psutil


def host_and_port(url: str) -> tuple[str, int]:
    """Return host and port of a URL."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


@dataclass(frozen=True)
class ListeningSocket:
    """One listening TCP socket; `pid` is None where it is another user's."""

    address: str
    port: int
    pid: int | None

    @property
    def is_loopback(self) -> bool:
        """True when only this machine reaches it."""
        return _read(self.address).is_loopback


@dataclass(frozen=True)
class Sockets:
    """Every listening socket of this machine, and its own addresses."""

    listeners: tuple[ListeningSocket, ...]
    own: frozenset[str]

    @classmethod
    def of_this_machine(cls) -> "Sockets":
        """Read the present sockets."""
        found = {
            ListeningSocket(connection.laddr[0], connection.laddr[1], connection.pid)
            for connection in psutil.net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr
        }
        own = {address.address.partition("%")[0] for each in psutil.net_if_addrs().values() for address in each}
        return cls(tuple(sorted(found, key=lambda one: (one.port, one.address))), frozenset(own))

    def on(self, port: int) -> tuple[ListeningSocket, ...]:
        """Return the sockets that listen on a port."""
        return tuple(listener for listener in self.listeners if listener.port == port)

    def owner(self, port: int) -> int | None:
        """Return the pid of the process that listens on a port, where it is visible."""
        return next((listener.pid for listener in self.on(port) if listener.pid is not None), None)

    def is_here(self, host: str) -> bool:
        """Return True when a host's name or address means this machine."""
        try:
            found = {str(entry[4][0]) for entry in socket.getaddrinfo(host.strip("[]"), None)}
        except OSError:
            return False
        return all(self._is_own(address) for address in found)

    def _is_own(self, address: str) -> bool:
        read = _read(address)
        return read.is_loopback or read.is_unspecified or str(read) in self.own

    def outside(self) -> str | None:
        """Return an address of this machine that others can use; None when it has none."""
        return next((one for one in sorted(self.own) if _is_v4(one) and not ip_address(one).is_loopback), None)

    def is_shut(self, host: str, port: int) -> bool:
        """Return True when only this machine reaches a port of `host`."""
        return self.is_here(host) and all(listener.is_loopback for listener in self.on(port))


def _read(address: str) -> IPv4Address | IPv6Address:
    """Parse an address without its interface; Java writes IPv4 addresses as IPv6."""
    read = ip_address(address.partition("%")[0])
    return read.ipv4_mapped or read if isinstance(read, IPv6Address) else read


def _is_v4(address: str) -> bool:
    try:
        return ip_address(address).version == 4
    except ValueError:  # the address of a network card
        return False
