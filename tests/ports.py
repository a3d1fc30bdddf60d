"""Ports for what a test starts.

They lie below those of `bench.local_stack` and those that the system gives to outgoing connections. Each of pytest's
processes has a block of its own, since a program takes its port seconds after the test has chosen it.
"""

import os
import random
import socket
from contextlib import suppress
from itertools import cycle, islice

LOWEST_PORT, BLOCK, BLOCKS = 11000, 2400, 4
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % BLOCKS
_block = range(LOWEST_PORT + BLOCK * _worker, LOWEST_PORT + BLOCK * (_worker + 1))
# Runs beside each other begin at different places; the shared generator is one that tests seed alike.
_ports = islice(cycle(_block), random.SystemRandom().randrange(BLOCK), None)


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens now, and which comes again only after all others."""
    for port in islice(_ports, BLOCK):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no free port")
