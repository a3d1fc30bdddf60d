"""Ports for the servers of a benchmark, below those that the system gives to outgoing connections."""

import contextlib
import random
import socket

LOWEST, HIGHEST = 21000, 32000


def free_ports(count: int) -> int:
    """The first of a block of ports that nobody listens on now, somewhere between: other runs look elsewhere."""
    first = random.randrange(LOWEST, HIGHEST - count)  # noqa: S311 - to be out of each other's way
    for offset in range(0, HIGHEST - LOWEST, count):
        start = LOWEST + (first - LOWEST + offset) % (HIGHEST - LOWEST - count)
        with contextlib.suppress(OSError), contextlib.ExitStack() as probes:
            for port in range(start, start + count):
                probes.enter_context(socket.create_server(("127.0.0.1", port)))
            return start
    raise SystemExit("no free ports")
