"""Processor time, memory and bytes read from /proc, and a share of the processors where this machine sets one."""

import os
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from bench.capacity.processors import GATEWAY, PERIOD_US, Parts, Share, Unavailable, loopback_bytes, share, used


def test_loopback_bytes_are_counted() -> None:
    before = loopback_bytes()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        taken, _ = server.accept()
        with taken:
            client.sendall(b"x" * 5000)
            left = 5000
            while left:
                left -= len(taken.recv(left))
    assert loopback_bytes() - before >= 5000


def test_parts_processor_time_is_that_of_their_processes() -> None:
    found = Parts({GATEWAY: [psutil.Process(os.getpid())]})
    before, mine = found.seconds(), time.process_time()
    while time.process_time() - mine < 0.2:
        sum(range(10_000))
    assert used(before, found.seconds())[GATEWAY] >= 0.1
    assert found.memory_mb(GATEWAY) > 1


def test_parts_missing_part_has_no_memory() -> None:
    assert Parts({GATEWAY: []}).memory_mb(GATEWAY) == 0


def quota_us(held: Share) -> int:
    new = held.folder / "cpu.max"
    return int(new.read_text().split()[0] if new.exists() else (held.folder / "cpu.cfs_quota_us").read_text())


def test_share_holds_processes_and_releases_them_at_the_end() -> None:
    sleeper = subprocess.Popen(["sleep", "600"])
    try:
        try:
            with share(0.4) as held:
                assert quota_us(held) == round(0.4 * PERIOD_US)
                held.hold([psutil.Process(sleeper.pid)])
                assert str(sleeper.pid) in (held.folder / "cgroup.procs").read_text().split()
                assert held.folder.name in Path(f"/proc/{sleeper.pid}/cgroup").read_text()
        except Unavailable as reason:
            pytest.skip(str(reason))
        assert not held.folder.exists()
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


def test_share_ended_process_is_skipped() -> None:
    gone = subprocess.Popen(["true"])
    process = psutil.Process(gone.pid)
    gone.wait()
    try:
        with share(0.4) as held:
            held.hold([process])
            assert not (held.folder / "cgroup.procs").read_text()
    except Unavailable as reason:
        pytest.skip(str(reason))
