"""Commands on a disk that is really full: one line with the file and the bytes, and nothing half-written stays."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.signing import generate_keys
from delivery.stores.folder import put_into_folder
from edge.compiler import find_compiler
from errors import ConfigError, DiskError
from loadtest.report_files import ReportFiles
from settings import load
from settings.load import ROOT
from tests.small_disk import SmallDisk, small_disk

ROOM = r"No space left on device \([\d,]+ bytes free, [\d,]+ needed\); free some space on its disk"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 256 KiB, with 64 KiB taken."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder, 256) as made:
        (folder / "taken").write_bytes(bytes(64 * 1024))
        yield made


def left(disk: SmallDisk) -> list[str]:
    return sorted(str(path.relative_to(disk.folder)) for path in disk.folder.rglob("*") if path.name != "taken")


@pytest.mark.parametrize("artifact", ["eager", "torchscript", "onnx"])
def test_generate_mar_on_a_full_disk_is_one_line(disk: SmallDisk, artifact: str) -> None:
    words = ["served_model=digits", "served_model.weights=random", f"served_model.artifact={artifact}"]
    done = subprocess.run(
        [sys.executable, "-m", "serialize", *words, f"paths.archives={disk.folder}"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: {disk.folder}/digits.mar: No space left on device (")
    assert left(disk) == []


def test_put_needs_the_size_of_the_archive(disk: SmallDisk, tmp_path: Path) -> None:
    source = tmp_path / "digits.mar"
    source.write_bytes(bytes(300_000))
    with pytest.raises(DiskError, match=r"digits\.mar: No space left on device \(196,608 bytes free, 300,000 needed\)"):
        put_into_folder(source, disk.folder, "digits.mar")
    assert left(disk) == []


def test_load_test_whose_report_has_no_room_does_not_begin(disk: SmallDisk) -> None:
    stress = load([f"stress.reports={disk.folder}"]).stress
    with pytest.raises(ConfigError, match=rf"stress\.reports: .*{ROOM}"):
        ReportFiles.of(stress, ROOT)
    assert left(disk) == []


def test_half_a_pair_of_keys_does_not_stay(disk: SmallDisk) -> None:
    disk.fill()
    (disk.folder / "taken").write_bytes(bytes(60 * 1024))  # room for one file
    with pytest.raises(DiskError, match=ROOM):
        generate_keys(disk.folder / "keys")
    assert not [name for name in left(disk) if name.endswith((".pem", ".key"))]
    disk.free()
    assert all(path.is_file() for path in generate_keys(disk.folder / "keys"))


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_edge_module_on_a_full_disk_is_one_line(disk: SmallDisk) -> None:
    disk.fill()
    with pytest.raises(DiskError, match=r"No space left on device \([\d,]+ bytes free\); free some space"):
        find_compiler("auto", disk.folder).harness("/* no policy */" * 1000)
    assert [name for name in left(disk) if not name.startswith("filling")] == []


WRITES = """
import sys, commands
from pathlib import Path

sys.exit(commands.run(lambda words: Path(words[0]).write_text("x" * 10000) and 0, None))
"""


def test_any_program_reports_a_full_disk_in_one_line(disk: SmallDisk) -> None:
    disk.fill()
    done = subprocess.run(
        [sys.executable, "-c", WRITES, str(disk.folder / "new")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    said = "error: No space left on device; free some space on its disk, then run the command again\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_error_that_users_cannot_mend_keeps_its_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITES, str(tmp_path / "none" / "new")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
