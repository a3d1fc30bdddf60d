import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from loadtest.resources import GENERATOR, ResourceSampler

BUSY = "import time\nends = time.time() + 30\nwhile time.time() < ends: pass"


def test_resource_sampler_reads_services_by_pid_files(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        created = psutil.Process(process.pid).create_time()
        (tmp_path / "gateway.pid").write_text(f"{process.pid} {created}\n")
        (tmp_path / "stranger.pid").write_text(f"{process.pid} {created - 1000}\n")
        (tmp_path / "ended.pid").write_text("999999999 1.0\n")
        (tmp_path / "damaged.pid").write_text("no number")
        (tmp_path / "self.pid").write_text(f"{os.getpid()} {psutil.Process().create_time()}\n")
        sampler = ResourceSampler(tmp_path)
        began = psutil.Process(process.pid).cpu_times().user
        deadline = time.monotonic() + 30
        while psutil.Process(process.pid).cpu_times().user < began + 0.3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        usage = sampler.stop()
    finally:
        process.kill()
        process.wait()
    assert set(usage) == {"gateway", GENERATOR}
    assert max(reading.cores for reading in usage["gateway"]) > 0.05
    assert all(reading.memory > 2**20 for reading in usage["gateway"])


def test_resource_sampler_without_state_folder_reads_generator() -> None:
    assert set(ResourceSampler(None).stop()) == {GENERATOR}
