"""An archive is copied under another version without a change to anything else."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from archive import open_archive, stamp, stamped
from errors import ArchiveError, StoreError
from tests.archive.made import CONTENTS, MANIFEST, archive_at, checked


def test_only_the_version_differs(tmp_path: Path) -> None:
    source = archive_at(tmp_path / "toy.mar")
    before = open_archive(source)

    after = stamp(before, "2.1", tmp_path / "store" / "toy-2.1.mar")

    assert after.version == "2.1"
    assert after.content_sha256 == before.content_sha256
    assert after.sha256 != before.sha256
    changed = {file.name for file in set(after.files) ^ set(before.files)}
    assert changed == {MANIFEST}
    assert open_archive(source) == before


def test_the_same_version_gives_the_same_bytes(tmp_path: Path) -> None:
    source = open_archive(archive_at(tmp_path / "toy.mar"))
    first = stamp(source, "3", tmp_path / "a.mar")
    os.utime(source.path, (1, 1))
    second = stamp(source, "3", tmp_path / "b.mar")
    assert first.sha256 == second.sha256


def test_stamping_an_archive_onto_itself_works(tmp_path: Path) -> None:
    source = archive_at(tmp_path / "toy.mar")
    stamp(open_archive(source), "2.0", source)
    assert open_archive(source).version == "2.0"
    assert [path.name for path in tmp_path.iterdir()] == ["toy.mar"]


@pytest.mark.parametrize(
    "version", ["", "v1", "1.", "1.0-rc", "../1", "1 ", "1\n", "0123456789", "1.2.3.4.5.6.7", "9" * 5000, "\u0661"]
)
def test_what_is_no_version_is_refused(tmp_path: Path, version: str) -> None:
    source = open_archive(archive_at(tmp_path / "toy.mar"))
    with pytest.raises(ArchiveError, match="not a version"):
        stamp(source, version, tmp_path / "out.mar")
    assert not (tmp_path / "out.mar").exists()


@pytest.mark.parametrize("version", ["0", "123456789", "1.2.3.4.5.6"])
def test_versions_are_numbers_with_dots_between_them(tmp_path: Path, version: str) -> None:
    source = open_archive(archive_at(tmp_path / "toy.mar"))
    assert stamp(source, version, tmp_path / "out.mar").version == version


def test_a_broken_source_leaves_the_target_as_it_was(tmp_path: Path) -> None:
    target = archive_at(tmp_path / "target.mar")
    old = target.read_bytes()
    source = open_archive(archive_at(tmp_path / "broken.mar"))
    for content in (old[:-100], old.replace(b"responseTimeout", b"responseTimeoux")):
        source.path.write_bytes(content)
        with pytest.raises(ArchiveError, match=f"^{source.path}: "):
            stamp(source, "2.0", target)
        assert target.read_bytes() == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.mar", "target.mar"]


def test_a_target_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    source = open_archive(archive_at(tmp_path / "toy.mar"))
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=f"^{tmp_path}/file: File exists; .* has this name"):
        stamp(source, "2.0", tmp_path / "file" / "out.mar")


def test_stamp_copies_checked_files_only(tmp_path: Path) -> None:
    source = tmp_path / "toy.mar"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in reversed(checked(CONTENTS).items()):
            archive.writestr(name, content)
    plain = open_archive(archive_at(tmp_path / "plain.mar"))
    assert (
        stamp(open_archive(source), "2.0", tmp_path / "a.mar").sha256 == stamp(plain, "2.0", tmp_path / "b.mar").sha256
    )


def test_stamp_replaced_source_is_refused(tmp_path: Path) -> None:
    source = open_archive(archive_at(tmp_path / "toy.mar"))
    archive_at(source.path, {**CONTENTS, "toy_handler.py": b"class Other: ...\n"})
    with pytest.raises(ArchiveError, match=f"^{source.path}: .* was changed after it had been checked"):
        stamp(source, "2.0", tmp_path / "out.mar")
    assert not (tmp_path / "out.mar").exists()


def test_every_entry_has_the_same_time_mode_and_order(tmp_path: Path) -> None:
    stamp(open_archive(archive_at(tmp_path / "toy.mar")), "2.0", tmp_path / "out.mar")
    with zipfile.ZipFile(tmp_path / "out.mar") as archive:
        entries = archive.infolist()
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.external_attr for entry in entries} == {0o100644 << 16}
    assert {entry.create_system for entry in entries} == {3}
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)


def test_stamp_concurrent_processes_leave_one_whole_archive(tmp_path: Path) -> None:
    source = archive_at(tmp_path / "toy.mar")
    code = (
        "import sys, pathlib, archive; source = archive.open_archive(pathlib.Path(sys.argv[1])); "
        "archive.stamp(source, sys.argv[2], pathlib.Path(sys.argv[3]))"
    )
    target = tmp_path / "store" / "out.mar"
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(source), f"{version}.0", str(target)])
        for version in range(1, 5)
    ]
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0, 0]
    assert open_archive(target).version in {"1.0", "2.0", "3.0", "4.0"}
    assert [path.name for path in target.parent.iterdir()] == ["out.mar"]


def test_stamp_registration_is_in_manifest_and_replaced_whole(tmp_path: Path) -> None:
    source = open_archive(archive_at(tmp_path / "toy.mar"))
    first = stamp(source, "2.0", tmp_path / "a.mar", {"threads": 2, "coalesce": 64})
    assert stamped(first) == {"threads": 2, "coalesce": 64}
    assert first.content_sha256 == source.content_sha256
    second = stamp(first, "2.1", tmp_path / "b.mar", {"threads": 1})
    assert stamped(second) == {"threads": 1}
    assert stamped(stamp(first, "2.2", tmp_path / "c.mar")) == {}
    ends = {"threads": 1, "coalesce": 4096}
    assert stamped(stamp(first, "2.3", tmp_path / "d.mar", ends)) == ends


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, 4097, 10**4000])
def test_manifest_invalid_registration_is_refused(tmp_path: Path, threads: object) -> None:
    source = open_archive(archive_at(tmp_path / "toy.mar"))
    with pytest.raises(ArchiveError, match="threads"):
        stamp(source, "2.0", tmp_path / "out.mar", {"threads": threads})  # type: ignore[dict-item]  # the point
    assert not (tmp_path / "out.mar").exists()
