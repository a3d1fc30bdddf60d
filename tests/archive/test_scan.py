"""The code of an archive is looked at without being run."""

import gc
import json
import time
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest

from archive import open_archive, scan
from errors import ArchiveError
from tests.archive.made import CONTENTS, MANIFEST, archive_at

CODE = Path(__file__).read_bytes()


def manifest_with(handler: str) -> bytes:
    manifest = json.loads(CONTENTS[MANIFEST])
    manifest["model"]["handler"] = handler
    return json.dumps(manifest).encode()


def test_a_whole_archive_passes_and_nothing_in_it_ran(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w')\nclass Toy: ...\n".encode()
    archive = open_archive(archive_at(tmp_path / "toy.mar", {**CONTENTS, "toy_handler.py": code}))
    assert scan(archive) is archive
    assert not mark.exists()


def test_scan_limit_is_for_source_files_only(tmp_path: Path) -> None:
    long = {"handlers/long.py": b"#" * 1024 * 1024, "data.bin": b"#" * (1024 * 1024 + 1)}
    scan(open_archive(archive_at(tmp_path / "toy.mar", {**CONTENTS, **long})))


def test_scan_replaced_code_is_refused(tmp_path: Path) -> None:
    archive = open_archive(archive_at(tmp_path / "toy.mar"))
    archive_at(archive.path, {**CONTENTS, "toy_handler.py": b"class Other: ...\n"})
    with pytest.raises(ArchiveError, match=f"^{archive.path}: .* was changed after it had been checked"):
        scan(archive)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"toy_handler.py": b"class Toy:\n"}, r"toy_handler\.py is not Python in line 1"),
        ({"handlers/__init__.py": b"\0"}, r"handlers/__init__\.py is not Python"),
        ({"handlers/deep.py": b"(" * 5000}, r"handlers/deep\.py is not Python"),
        ({"handlers/deep.py": b"x" + b".a" * 100_000}, r"handlers/deep\.py is not Python: maximum recursion depth"),
        ({"handlers/deep.py": b"-" * 100_000 + b"1"}, r"handlers/deep\.py is not Python"),
        ({"toy_handler.py": b"x = 1\n"}, "must define one class, it defines none"),
        ({"toy_handler.py": b"class A: ...\nclass B: ...\n"}, "must define one class, it defines A, B"),
        ({"handlers/long.py": b"#" * (1024 * 1024 + 1)}, r"handlers/long\.py is larger than 1048576 bytes"),
        ({MANIFEST: manifest_with("model.onnx")}, "is not a Python file"),
    ],
)
def test_what_cannot_be_a_handler_is_refused_in_one_line(tmp_path: Path, change: dict[str, bytes], words: str) -> None:
    archive = open_archive(archive_at(tmp_path / "toy.mar", {**CONTENTS, **change}))
    with pytest.raises(ArchiveError, match=words) as caught:
        scan(archive)
    assert str(archive.path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_archives_are_scanned_in_several_threads(tmp_path: Path) -> None:
    """Finalizers that the garbage collector runs while Python parses let another thread parse meanwhile."""

    def switch(phase: str, info: dict[str, int]) -> None:
        time.sleep(0)

    archive = open_archive(archive_at(tmp_path / "toy.mar", {**CONTENTS, "handlers/long.py": CODE}))
    gc.callbacks.append(switch)
    try:
        with ThreadPool(4) as threads:
            assert threads.map(scan, [archive] * 40) == [archive] * 40
    finally:
        gc.callbacks.remove(switch)
