"""What is read from /proc is what was used."""

import os
import socket
import time

import psutil

from bench.capacity.parts import GATEWAY, Parts, loopback_bytes, used


def test_bytes_over_loopback_are_counted() -> None:
    before = loopback_bytes()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        taken, _ = server.accept()
        with taken:
            client.sendall(b"x" * 5000)
            left = 5000
            while left:
                left -= len(taken.recv(left))
    assert loopback_bytes() - before >= 5000


def test_processor_time_of_a_part_is_that_of_its_processes() -> None:
    found = Parts({GATEWAY: [psutil.Process(os.getpid())]})
    before, mine = found.seconds(), time.process_time()
    while time.process_time() - mine < 0.2:
        sum(range(10_000))
    assert used(before, found.seconds())[GATEWAY] >= 0.1
    assert found.memory_mb(GATEWAY) > 1


def test_a_part_that_is_not_there_has_no_memory() -> None:
    assert Parts({GATEWAY: []}).memory_mb(GATEWAY) == 0
