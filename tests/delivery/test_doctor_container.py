"""The doctor's look from a container to its host."""

import functools
import socket
from ipaddress import IPv4Address

import pytest

from delivery.doctor import this_container
from delivery.doctor.check import State
from delivery.doctor.this_container import host_reach

HERE = IPv4Address("127.0.0.1")


def to_port(port: int, address: tuple[str, int], timeout: float) -> socket.socket:
    """Connect to another port of the same address."""
    return socket.create_connection((address[0], port), timeout)


def test_host_that_refuses_or_accepts_can_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for asked in (port, 1):  # nothing listens on port 1
            found = host_reach(iter([HERE]), functools.partial(to_port, asked))
            assert found.state is State.WARNING
            assert "127.0.0.1" in found.words


@pytest.mark.parametrize("error", [TimeoutError(), OSError(101, "Network is unreachable")])
def test_host_that_is_silent_or_has_no_route_is_closed(error: OSError) -> None:
    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        raise error

    assert host_reach(iter([HERE]), connect).state is State.CLOSED


def test_addresses_are_the_first_of_each_network(monkeypatch: pytest.MonkeyPatch) -> None:
    class Address:
        family, address, netmask = socket.AF_INET, "172.20.0.5", "255.255.0.0"

    class Loopback:
        family, address, netmask = socket.AF_INET, "127.0.0.1", "255.0.0.0"

    monkeypatch.setattr("psutil.net_if_addrs", lambda: {"eth0": [Address], "lo": [Loopback]})
    assert list(this_container.host_addresses()) == [IPv4Address("172.20.0.1")]
