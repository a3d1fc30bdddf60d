"""A zip is read only if nobody can read it in another way."""

import io
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from archive import container
from archive.container import CHUNK, Container, naming
from errors import ArchiveError
from tests.archive.zips import ALPHA, BETA, File, deflated, zipped


def contents(data: bytes) -> dict[str, bytes]:
    opened = Container(io.BytesIO(data))
    return {member.name: b"".join(opened.chunks(member)) for member in opened.members}


def refused(data: bytes, words: str) -> None:
    with pytest.raises(ArchiveError, match=words):
        contents(data)


@pytest.mark.parametrize(
    "files",
    [
        (),
        (ALPHA,),
        (ALPHA, BETA, File(b"empty", b"")),
        (ALPHA, deflated(b"packed", b"again and " * 500), BETA),
        (deflated(b"large", bytes(3 * CHUNK + 5)), ALPHA),
        (File(b"stored", bytes(range(256)) * (CHUNK // 128)),),
        (deflated(b"random", os.urandom(2 * CHUNK + 3)),),
        (File("größe".encode(), flags=0x800),),
        (File(b"fast", flags=0x6),),
        (File(b""),),
    ],
    ids=[
        "nothing",
        "one",
        "three",
        "deflated",
        "deflated far",
        "stored, large",
        "hardly shrunk",
        "UTF-8",
        "effort",
        "no name",
    ],
)
def test_a_plain_zip_is_read_as_python_reads_it(files: tuple[File, ...]) -> None:
    data = zipped(*files)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert contents(data) == {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_pythons_zipfile_writes_is_read(tmp_path: Path, compression: int) -> None:
    with zipfile.ZipFile(tmp_path / "plain.zip", "w", compression) as archive:
        archive.writestr("a/b.py", "x = 1\n" * 100)
        archive.writestr("größe.txt", b"")
    assert contents((tmp_path / "plain.zip").read_bytes()) == {"a/b.py": b"x = 1\n" * 100, "größe.txt": b""}


FIELDS = {
    "flags": 0x2,
    "method": 8,
    "time": 1,
    "date": 0x22,
    "crc": 7,
    "packed": 4,
    "size": 4,
    "name": b"Alpha",
    "extra": b"UT\5\0\1\0\0\0\0",
}


@pytest.mark.parametrize("key", FIELDS)
def test_container_differing_header_is_refused(key: str) -> None:
    odd = File(b"alpha", b"first", header={key: FIELDS[key]})
    refused(zipped(odd, BETA), "'alpha', whose header disagrees with its directory")


@pytest.mark.parametrize("key", [key for key in FIELDS if key not in {"packed", "extra"}])
def test_container_differing_directory_is_refused(key: str) -> None:
    refused(zipped(File(b"alpha", b"first", entry={key: FIELDS[key]}), BETA), "whose header disagrees")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"#!/bin/sh\n" + zipped(ALPHA, BETA), "an end that does not agree with its directory"),
        (zipped(File(b"alpha", b"first", gap=b"#"), BETA), "belong to no file, or to two, in front of 'alpha'"),
        (zipped(ALPHA, File(b"beta", b"second", gap=b"#")), "belong to no file, or to two, in front of 'beta'"),
        (zipped(ALPHA, BETA, gap=b"#"), "in front of its directory"),
        (zipped(ALPHA, BETA, inside=b"#"), "in front of its directory or in it"),
        (zipped(ALPHA, BETA, behind=b"#"), "it is cut short, or something follows its directory"),
        (zipped(ALPHA) + zipped(BETA), "an end that does not agree with its directory"),
        (zipped(ALPHA, BETA, behind=b"hi", comment=2), "it is cut short, or something follows"),
        (zipped(ALPHA, BETA, comment=2), "has a comment, or an end"),
        (zipped(ALPHA, BETA, count=1, here=1), "in front of its directory or in it"),
        (zipped(ALPHA, BETA, count=3, here=3), "its directory is cut short"),
        (zipped(ALPHA, BETA, here=1), "has a comment, or an end"),
        (zipped(ALPHA, BETA, disk=1), "has a comment, or an end"),
        (zipped(ALPHA, BETA, of=1), "has a comment, or an end"),
        (zipped(ALPHA, BETA, start=1), "has a comment, or an end"),
        (zipped(ALPHA, BETA, length=1), "has a comment, or an end"),
        (zipped(ALPHA, File(b"beta", entry={"at": 0})), "to two, in front of 'beta'"),
        (zipped(File(b"alpha", entry={"comment": b"hi"})), "'alpha' with a comment, or on another disk"),
        (zipped(File(b"alpha", entry={"disk": 1})), "'alpha' with a comment, or on another disk"),
        (zipped(File(b"alpha", entry={"extra": b"ab\0\0"}, header={"extra": b"ab\0\0"})), "with an extra field"),
        (zipped(File(b"alpha", entry={"extra": b"ab\0\0"})), "with an extra field"),
        (zipped(File(b"alpha", entry={"extra": b"\1\0\0\0"})), "with an extra field"),
        (zipped(File(b"alpha", flags=0x1)), r"encrypted or packed into a pipe \(flags 0x1\)"),
        (zipped(File(b"alpha", flags=0x8)), r"encrypted or packed into a pipe \(flags 0x8\)"),
        (zipped(File(b"alpha", flags=0x10)), r"flags 0x10"),
        (zipped(File("größe".encode())), "is not UTF-8 or does not say so"),
        (zipped(File(b"gr\xf6\xdfe", flags=0x800)), "is not UTF-8 or does not say so"),
        (zipped(ALPHA, BETA).replace(b"PK\1\2", b"PK\1\1", 1), "holds something else than files"),
        (zipped(ALPHA, BETA).replace(b"PK\3\4", b"PK\3\3", 1), "disagrees with its directory"),
        (b"", "it is cut short, or something follows"),
        (b"PK\5\6", "it is cut short, or something follows"),
        (b"PK\5\6" + bytes(17), "it is cut short, or something follows"),
        (b"PK\5\5" + bytes(18), "it is cut short, or something follows"),
    ],
)
def test_container_hidden_bytes_are_refused(data: bytes, words: str) -> None:
    refused(data, words)


def test_container_header_beyond_file_is_refused() -> None:
    # The directory and its end agree, and there is nothing in front of them.
    directory = ALPHA.central(0)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(directory), 0, 0)
    refused(directory + end, "disagrees with its directory")
    cut = ALPHA.local()[:29]
    refused(cut + directory + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(directory), 29, 0), "disagrees")


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (deflated(b"packed", b"abc" * 99, behind=b"#"), "'packed', with bytes behind its compressed data"),
        (deflated(b"packed", b"abc" * 99, behind=bytes(2 * CHUNK)), "with bytes behind its compressed data"),
        (deflated(b"packed", b"abc" * 99, cut=-1), "the compressed data of 'packed' do not end"),
        (deflated(b"packed", b"abc" * 99, cut=0), "the compressed data of 'packed' do not end"),
        (File(b"packed", b"\xff\xff\xff", 8, 5), "not a readable archive: 'packed': Error"),
        (File(b"short", b"first", size=6), "'short', whose data are not the 6 bytes that it claims"),
        (File(b"long", b"first", size=4), "'long', whose data are not the 4 bytes that it claims"),
        (File(b"other", b"first", crc=7), "'other', whose data do not fit its CRC-32"),
    ],
)
def test_data_that_are_not_what_is_claimed_are_refused(file: File, words: str) -> None:
    refused(zipped(ALPHA, file, BETA), words)


def test_no_more_is_unpacked_than_was_claimed() -> None:
    packed = deflated(b"bomb", bytes(50 * CHUNK))
    opened = Container(io.BytesIO(zipped(File(b"bomb", packed.data, 8, CHUNK, 0))))
    blocks = opened.chunks(opened.member("bomb"))
    assert len(next(blocks)) == CHUNK
    with pytest.raises(ArchiveError, match="whose data are not"):
        next(blocks)


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(File(b"large", bytes(3 * CHUNK))))
    with Container.open(path) as opened:
        blocks = opened.chunks(opened.member("large"))
        assert len(next(blocks)) == CHUNK
        os.truncate(path, CHUNK)
        with pytest.raises(ArchiveError, match="it ends within 'large'"):
            list(blocks)


@pytest.mark.parametrize(("length", "words"), [(0, "holds something else than files"), (1, "the limit is 16777216")])
def test_a_directory_is_read_up_to_16_mib(tmp_path: Path, length: int, words: str) -> None:
    length += 16 * 1024**2
    with (tmp_path / "sparse.zip").open("wb") as file:
        file.truncate(length)
        file.seek(length)
        file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, length, 0, 0))
    with pytest.raises(ArchiveError, match=words), Container.open(tmp_path / "sparse.zip"):
        pass


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What Python's zipfile writes when some numbers take more than 32 bits; here it believes so from 20 on."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 20)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in (("few", b"few"), ("more", b"m" * 30), ("most", b"l" * 40)):
            entry = zipfile.ZipInfo(name)
            entry.file_size = len(data)
            with archive.open(entry, "w") as file:
                file.write(data)
    return target.getvalue()


def test_large_numbers_are_read_where_a_writer_puts_them(large: bytes) -> None:
    assert contents(large) == {"few": b"few", "more": b"m" * 30, "most": b"l" * 40}
    assert large.count(b"PK\6\6") == large.count(b"PK\6\7") == 1


def changed(data: bytes, signature: bytes, at: int, by: bytes, nth: int = 0) -> bytes:
    place = [at for at in range(len(data)) if data.startswith(signature, at)][nth] + at
    return data[:place] + by + data[place + len(by) :]


LARGE = {
    "size of the end": (b"PK\6\6", 4, b"\x2d"),
    "version of the end": (b"PK\6\6", 12, b"\0"),
    "disk of the end": (b"PK\6\6", 16, b"\1"),
    "files of the end on this disk": (b"PK\6\6", 24, b"\1"),
    "files of the end": (b"PK\6\6", 32, b"\1"),
    "length of the directory": (b"PK\6\6", 40, b"\1"),
    "start of the directory": (b"PK\6\6", 48, b"\1"),
    "disk of the locator": (b"PK\6\7", 4, b"\1"),
    "start in the locator": (b"PK\6\7", 8, b"\1"),
    "disks in the locator": (b"PK\6\7", 16, b"\2"),
    "locator": (b"PK\6\7", 0, b"PK\6\6"),
    "count in the small end": (b"PK\5\6", 8, b"\1"),
}


@pytest.mark.parametrize("what", LARGE)
def test_a_large_end_that_does_not_agree_is_refused(large: bytes, what: str) -> None:
    signature, at, by = LARGE[what]
    refused(changed(large, signature, at, by), "an end that does not agree|cut short")


@pytest.mark.parametrize("nth", [1, 2], ids=["sizes", "sizes and place"])
def test_a_large_entry_that_does_not_agree_is_refused(large: bytes, nth: int) -> None:
    entry = 46 + len("more")
    for at, by in ((entry, b"\2"), (entry + 2, b"\x09")):
        refused(changed(large, b"PK\1\2", at, by, nth), "with an extra field")
    for at in (entry + 4, entry + 12):
        refused(changed(large, b"PK\1\2", at, b"\1", nth), "disagrees with")
    refused(changed(large, b"PK\1\2", 24, b"\1\0\0\0", nth), "with an extra field")
    if nth == 2:
        refused(changed(large, b"PK\1\2", entry + 20, b"\1", nth), "in front of 'most'")


@pytest.mark.parametrize("at", [18, 22, 34, 36, 38, 46], ids=["packed", "size", "kind", "length", "size64", "packed64"])
def test_a_large_header_that_does_not_agree_is_refused(large: bytes, at: int) -> None:
    refused(changed(large, b"PK\3\4", at, b"\7", 1), "'more', whose header disagrees")


def test_a_large_form_without_the_numbers_for_it_is_refused() -> None:
    odd = File(b"alpha", b"first", entry={"size": 0xFFFFFFFF}, header={"size": 0xFFFFFFFF})
    refused(zipped(odd), "whose data are not")
    refused(zipped(ALPHA, count=0xFFFF, here=0xFFFF), "its directory is cut short")
    # A place that no file can have, in 64 bits.
    far = File(b"alpha", entry={"at": 0xFFFFFFFF, "extra": struct.pack("<2HQ", 1, 8, 2**64 - 1)})
    refused(zipped(far), "in front of 'alpha'")


def test_one_file_is_found_by_its_name() -> None:
    opened = Container(io.BytesIO(zipped(ALPHA, BETA)))
    assert b"".join(opened.chunks(opened.member("beta"))) == b"second"
    assert opened.member("alpha").crc == zlib.crc32(b"first")
    with pytest.raises(ArchiveError, match="has no gamma"):
        opened.member("gamma")


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def nothing(path: Path) -> None:
    assert not path.exists()


def loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [(folder, "Is a directory"), (pipe, "is not a file"), (nothing, "No such file"), (loop, "symbolic links")],
)
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    path = tmp_path / "a.mar"
    make(path)
    with pytest.raises(ArchiveError, match=f"^{path}: .*{words}"), naming(path), Container.open(path):
        pass


def test_a_device_is_no_file() -> None:
    with pytest.raises(ArchiveError, match="is not a file"), Container.open(Path("/dev/zero")):
        pass


def test_a_complaint_names_the_path_once() -> None:
    with pytest.raises(ArchiveError, match=r"^a\.mar: is broken$"), naming(Path("a.mar")), naming(Path("a.mar")):
        raise ArchiveError("is broken")


def test_the_limits_are_those_of_the_format() -> None:
    assert (container.MAX, container.MAX_COUNT) == (2**32 - 1, 2**16 - 1)
    assert container.STORED == zipfile.ZIP_STORED
    assert container.DEFLATED == zipfile.ZIP_DEFLATED
    assert sys.maxsize > container.MAX


def test_container_over_65535_files_needs_zip64() -> None:
    small = zipped(*(File(b"%d" % number, b"") for number in range(65536)), count=0xFFFF, here=0xFFFF)
    refused(small, "in front of its directory or in it")
    length, start = struct.unpack_from("<2I", small, len(small) - 10)
    numbers = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 65536, 65536, length, start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, start + length, 1)
    large = small[:-22] + numbers + locator + small[-22:]
    assert len(Container(io.BytesIO(large)).members) == len(zipfile.ZipFile(io.BytesIO(large)).namelist()) == 65536
    with pytest.raises(ArchiveError, match="an end that does not agree"):
        Container(io.BytesIO(large[:-14] + bytes(4) + large[-10:]))
