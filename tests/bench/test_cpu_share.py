"""A share of the processors, where this machine lets one be set."""

import subprocess
from pathlib import Path

import psutil
import pytest

from bench.cpu_share import PERIOD_US, Share, Unavailable, share


def quota_us(held: Share) -> int:
    new = held.folder / "cpu.max"
    return int(new.read_text().split()[0] if new.exists() else (held.folder / "cpu.cfs_quota_us").read_text())


def test_processes_are_held_to_it_and_let_go_at_the_end() -> None:
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


def test_one_that_has_ended_is_left_out() -> None:
    gone = subprocess.Popen(["true"])
    process = psutil.Process(gone.pid)
    gone.wait()
    try:
        with share(0.4) as held:
            held.hold([process])
            assert not (held.folder / "cgroup.procs").read_text()
    except Unavailable as reason:
        pytest.skip(str(reason))
