"""TorchServe below its first process: its end in good order, by a kill and when it hangs."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from engines.torchserve.room import RoomReport
from settings.load import ROOT
from tests.engines.process.local_torchserve import LocalTorchServe, local_torchserve
from tests.polling import wait_for

pytestmark = pytest.mark.e2e
SENT = 20


def ready(served: LocalTorchServe, *arguments: str) -> tuple[int, str]:
    """Return the exit status and the words of the health check."""
    command = [sys.executable, "-m", "engines.torchserve.process.ready", *arguments]
    done = subprocess.run(
        command, cwd=served.key_file.parent, env=served.env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr.strip()


def accepted(served: LocalTorchServe) -> float:
    """Return the number of requests that TorchServe has accepted since its start."""
    samples = served.metrics().splitlines()
    return sum(float(line.split()[-1]) for line in samples if line.startswith("ts_inference_requests_total{"))


def test_sigterm_under_load_every_accepted_request_is_answered(tmp_path: Path) -> None:
    with local_torchserve(tmp_path) as served, ThreadPoolExecutor(SENT) as clients:
        served.register("slow", workers=2)
        key = served.key("inference")

        def ask(seconds: str) -> int:
            return requests.post(served.url("slow"), data=seconds, headers=key, timeout=60).status_code

        answers = [clients.submit(ask, "0.3") for _ in range(SENT)]
        wait_for(lambda: accepted(served) == SENT)
        served.process.send_signal(signal.SIGTERM)
        wait_for(lambda: not served.key_file.exists())
        wait_for(lambda: ask("0") == 400)  # the old key is refused
        assert [answer.result() for answer in answers] == [200] * SENT
        assert served.process.wait(timeout=60) == 0
        assert not served.key_file.is_symlink()
        [drained] = [json.loads(line) for line in served.log.splitlines() if '"event": "drained"' in line]
        assert drained["complete"] is True


def test_java_is_killed_the_exit_status_tells(tmp_path: Path) -> None:
    with local_torchserve(tmp_path) as served:
        served.register("slow", workers=1)
        served.java.kill()
        assert served.process.wait(timeout=60) == 128 + signal.SIGKILL


def test_second_signal_ends_at_once(tmp_path: Path) -> None:
    with local_torchserve(tmp_path) as served, ThreadPoolExecutor(1) as clients:
        served.register("slow", workers=1)
        key = served.key("inference")
        clients.submit(requests.post, served.url("slow"), data="15", headers=key, timeout=60)
        wait_for(lambda: accepted(served) == 1)
        served.process.send_signal(signal.SIGTERM)
        wait_for(lambda: not served.key_file.exists())
        assert served.end(signal.SIGTERM) == 128 + signal.SIGKILL


def test_health_check_tells_what_is_missing(tmp_path: Path) -> None:
    with local_torchserve(tmp_path) as served:
        assert ready(served) == (0, "")
        live = tmp_path / "live"
        live.mkdir()
        (live / "slow.json").write_text('["1.0"]')
        assert ready(served, str(live)) == (1, "not ready: slow")
        served.register("slow", workers=1)
        assert ready(served, str(live)) == (0, "")
        served.java.kill()
        served.process.wait(timeout=60)
        assert ready(served) == (1, "not ready: TorchServe did not answer GET /ping: ConnectionRefusedError")
        served.key_file.unlink()
        assert ready(served) == (1, "not ready: TorchServe is starting or ending")


def test_metrics_port_shows_the_volumes_of_the_container(tmp_path: Path) -> None:
    with local_torchserve(tmp_path, TS_DISABLE_SYSTEM_METRICS="false") as served:
        wait_for(lambda: "VolumeUtilization{" in served.metrics())
        found = served.metrics()
        for folder in ("tmp", "keys"):
            assert f'VolumeAvailable{{Volume="{tmp_path / folder}",Level="Container",' in found
        wait_for(lambda: 'DiskUtilization{Level="Host",' in served.metrics())  # TorchServe's own are still there


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small tmpfs")
def test_key_file_that_a_full_disk_emptied_is_written_again_when_there_is_room(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,strictatime", "tmpfs", keys], check=True)
    try:
        with local_torchserve(tmp_path) as served:
            before = served.key("inference")
            wait_for(lambda: RoomReport.beside(served.key_file) is not None)  # the watches have begun
            os.utime(served.key_file, (0, 0))
            wait_for(lambda: served.key_file.stat().st_atime > 0)  # they have read the key file
            served.key_file.write_text("")
            (keys / "full").write_bytes(bytes(os.statvfs(keys).f_bavail * os.statvfs(keys).f_frsize))
            wait_for(lambda: '"event": "key_file_lost"' in served.log)
            assert "is empty; its disk has 0 bytes free" in served.log
            (keys / "full").unlink()
            wait_for(lambda: served.key_file.read_text() != "")
            assert served.key("inference") == before  # predictions go on
            served.register("slow", workers=0)
            assert served.end(signal.SIGTERM) == 0
    finally:
        subprocess.run(["umount", "--lazy", keys], check=True)


@pytest.mark.slow
def test_torchserve_that_hangs_is_not_healthy_and_is_killed_when_it_is_stopped(tmp_path: Path) -> None:
    with local_torchserve(tmp_path) as served:
        served.java.suspend()
        assert ready(served) == (1, "not ready: TorchServe did not answer GET /ping: TimeoutError")
        assert served.end(signal.SIGTERM) == 128 + signal.SIGKILL


def test_first_process_needs_the_standard_library_alone() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import engines.torchserve.process.__main__, engines.torchserve.process.ready;"
        "print(*[name for name in ('settings', 'pydantic', 'requests') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code, ROOT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
