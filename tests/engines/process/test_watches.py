"""What the first process watches, and the figures of its container."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.torchserve.process import java, watches
from engines.torchserve.process.container_metrics import ContainerMemory, container_memory, lines
from engines.torchserve.process.local_api import LocalApi
from engines.torchserve.room import RoomReport
from errors import DiskError
from tests.polling import wait_for

MIB = 2**20
ADDRESSES = {f"TS_{name}_ADDRESS": "http://127.0.0.1:9" for name in ("INFERENCE", "MANAGEMENT", "METRICS")}
V1 = {
    "memory/memory.usage_in_bytes": f"{300 * MIB}\n",
    "memory/memory.limit_in_bytes": f"{400 * MIB}\n",
    "memory/memory.stat": f"cache 1\ntotal_inactive_file {100 * MIB}\n",
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
}
V2 = {
    "memory.current": f"{300 * MIB}\n",
    "memory.max": f"{400 * MIB}\n",
    "memory.stat": f"anon 1\ninactive_file {100 * MIB}\n",
    "memory.events": "low 0\noom 4\noom_kill 3\n",
}


def group(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize("files", [V1, V2], ids=["v1", "v2"])
def test_container_memory_is_read_from_both_versions_of_control_groups(tmp_path: Path, files: dict[str, str]) -> None:
    assert container_memory(group(tmp_path, files)) == ContainerMemory(200 * MIB, 400 * MIB, 3)


@pytest.mark.parametrize(
    "files",
    [{}, V2 | {"memory.max": "max\n"}, V1 | {"memory/memory.limit_in_bytes": "9223372036854771712\n"}],
    ids=["no control group", "v2", "v1"],
)
def test_container_memory_without_a_limit_is_not_reported(tmp_path: Path, files: dict[str, str]) -> None:
    assert container_memory(group(tmp_path, files)) is None


def test_lines_have_the_form_that_torchserve_reads(tmp_path: Path) -> None:
    found = list(lines([str(tmp_path), "/absent"], ContainerMemory(200 * MIB, 400 * MIB, 3)))
    assert found[2].startswith("MemoryUtilization.Percent:50.0|#Level:Container|#hostname:")
    assert found[3].startswith("OutOfMemoryKills.Count:3.0|#Level:Container|#hostname:")
    assert [line.partition(":")[0] for line in found[4:]] == ["VolumeAvailable.Megabytes", "VolumeUtilization.Percent"]
    assert f"|#Volume:{tmp_path},Level:Container|" in found[4]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that looks like a worker of TorchServe, once /proc shows its command line."""
    code = "import time; time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code, "--sock-name", f"{tmp_path}/.ts.sock.9123"]) as process:
        wait_for(lambda: process.pid in watches.workers())
        yield process
        process.kill()


def test_worker_killed_for_memory_is_named_with_the_limit_and_the_setting(
    worker: "subprocess.Popen[bytes]",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    keys = {name: {"key": name} for name in ("inference", "management", "API")}
    (tmp_path / "key_file.json").write_text(json.dumps(keys))
    monkeypatch.setattr(LocalApi, "model_of", lambda self, worker, keys: {"9123": "digits 1.0"}.get(worker))
    kills = iter([5, 5, 5, 6, 6])
    watch = watches.MemoryWatch(
        LocalApi(ADDRESSES), tmp_path / "key_file.json", lambda: ContainerMemory(1, 400 * MIB, next(kills))
    )
    with caplog.at_level(logging.WARNING):
        watch.turn()
        watch.turn()
        assert caplog.records == []
        worker.kill()
        worker.wait()
        watch.turn()
        watch.turn()
    [record] = caplog.records
    assert record.message == "killed_for_memory"
    fields = vars(record)["fields"]
    # Other tests' workers may end meanwhile; a container shows only its own.
    assert f"pid {worker.pid} of digits 1.0" in fields["workers"]
    assert (fields["processes"], fields["limit_mib"]) == (1, 400)
    assert "MARINA_TS_MEMORY" in fields["setting"]


def test_address_that_moved_is_noticed_and_one_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"torchserve-engine": "127.0.0.7"}
    monkeypatch.setattr(watches, "address", known.get)
    watch = watches.AddressWatch({"TS_MANAGEMENT_ADDRESS": "http://torchserve-engine:8081"})
    assert watch.moved() is None
    # 203.0.113.0/24 is for documentation: no machine has it.
    known["torchserve-engine"] = "203.0.113.7"
    gone = watches.AddressWatch({"TS_MANAGEMENT_ADDRESS": "http://torchserve-engine:8081"})
    assert gone.moved() is None
    known.clear()
    assert gone.moved() is None
    known["torchserve-engine"] = "127.0.0.8"
    assert gone.moved() == "torchserve-engine was 203.0.113.7 and is 127.0.0.8"


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small tmpfs")
def test_folder_without_room_for_the_keys_is_named_with_its_bytes(tmp_path: Path) -> None:
    watches.check_key_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=True)
    try:
        (tmp_path / "full").write_bytes(bytes(64 * 1024))
        with pytest.raises(DiskError) as raised:
            watches.check_key_folder(tmp_path)
        said = f"{tmp_path / 'key_file.json'}: No space left on device (0 bytes free, 4,096 needed); "
        assert str(raised.value).startswith(said)
        assert [path.name for path in tmp_path.iterdir()] == ["full"]
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small tmpfs")
def test_room_for_archives_is_written_beside_the_keys_and_said_when_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keys, temporary = tmp_path / "keys", tmp_path / "tmp"
    keys.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert RoomReport.beside(keys / "key_file.json") is None
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", temporary], check=True)
    try:
        watch = watches.RoomWatch(keys)
        watch.turn()
        report = RoomReport.beside(keys / "key_file.json")
        assert report == RoomReport(str(temporary), 8 * MIB, 8 * MIB)
        assert report.lacks(8 * MIB) is None
        assert str(report.lacks(8 * MIB + 1)).startswith(f"{temporary} has 8,388,608 of 8,388,608 bytes free")
        assert "MARINA_TS_TMP" in str(report.lacks(8 * MIB + 1))
        (temporary / "archive").write_bytes(bytes(8 * MIB))
        watch.turn()
        watch.turn()
        assert RoomReport.beside(keys / "key_file.json") == RoomReport(str(temporary), 0, 8 * MIB)
        assert [record.message for record in caplog.records] == ["no_room_for_archives"]
    finally:
        subprocess.run(["umount", temporary], check=True)


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a tmpfs")
def test_room_is_made_in_the_temporary_folder_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "tmp"
    stores = {name: temporary / name for name in ("model_store", "mounted")} | {"outside": tmp_path / "outside"}
    for folder in (*stores.values(), temporary / "models" / "unpacked"):
        folder.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", stores["mounted"]], check=True)
    try:
        for folder in stores.values():
            (folder / "digits.mar").write_bytes(b"x")
            java.make_room(folder)
        assert [name for name, folder in stores.items() if (folder / "digits.mar").exists()] == ["mounted", "outside"]
        assert list((temporary / "models").iterdir()) == []
        java.make_room(temporary / "new")
        assert (temporary / "new").is_dir()
    finally:
        subprocess.run(["umount", stores["mounted"]], check=True)
