"""Refuses zip files that are unsafe to unpack: path escapes, links, duplicates, overlaps and claimed sizes."""

import re
import stat
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from errors import ArchiveError

PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # all that TorchServe's Java reads
HEADER = 30  # bytes of a local file header before its name, APPNOTE.TXT 4.3.7
RATIO = 1100  # deflate cannot shrink further: 258 bytes in two bits, with some room
ENCRYPTED = 0x1  # bit 0 of the general purpose flag, APPNOTE.TXT 4.4.4


@dataclass(frozen=True)
class Limits:
    """What an archive may claim to hold; sizes in bytes after unpacking."""

    files: int = 10_000
    total: int = 16 * 1024**3  # the largest vision networks stay an order of magnitude below
    document: int = 64 * 1024**2  # each JSON file and the checksum list, which are read into memory


def check_structure(entries: list[zipfile.ZipInfo], limits: Limits) -> None:
    """Raises ArchiveError, naming the entry, for the first thing that is unsafe."""
    if len(entries) > limits.files:
        raise ArchiveError(f"holds {len(entries)} files, the limit is {limits.files}")
    for entry in entries:
        _check_name(entry)
        _check_type(entry)
        _check_size(entry)
    _check_duplicates(entry.filename for entry in entries)
    total = sum(entry.file_size for entry in entries)
    if total > limits.total:
        raise ArchiveError(f"claims {total} bytes when unpacked, the limit is {limits.total}")
    _check_overlaps(entries)


def _check_name(entry: zipfile.ZipInfo) -> None:
    # zipfile cuts a name at a NUL byte; what stands in the file is orig_filename.
    name = entry.orig_filename
    path = PurePosixPath(name)
    if path.is_absolute() or re.match(r"[A-Za-z]:", name):
        raise ArchiveError(f"holds the absolute path {name!r}")
    if ".." in path.parts or "\\" in name:
        raise ArchiveError(f"holds the path {name!r}, which leaves the folder it is unpacked in")
    if not name.isprintable() or str(path) != name:
        raise ArchiveError(f"holds {name!r}, which is not the plain path of a file")


def _check_type(entry: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise ArchiveError(f"holds the link {entry.filename!r}")
    if kind not in (0, stat.S_IFREG):
        raise ArchiveError(f"holds {entry.filename!r}, which is not a regular file")
    if entry.flag_bits & ENCRYPTED:
        raise ArchiveError(f"holds {entry.filename!r}, which is encrypted")
    if entry.compress_type not in PLAIN:
        raise ArchiveError(f"holds {entry.filename!r}, which is neither stored nor deflated")


def _check_size(entry: zipfile.ZipInfo) -> None:
    largest = entry.compress_size * (RATIO if entry.compress_type == zipfile.ZIP_DEFLATED else 1)
    if entry.file_size > largest:
        raise ArchiveError(f"claims {entry.file_size} bytes for {entry.filename!r}, which holds {entry.compress_size}")


def _check_duplicates(names: Iterable[str]) -> None:
    seen: set[str] = set()
    folders: set[str] = set()
    for name in names:
        # Two names that differ only in case are one file on some systems.
        key = name.casefold()
        if key in seen:
            raise ArchiveError(f"holds {name!r} twice")
        seen.add(key)
        folders.update(str(parent) for parent in PurePosixPath(key).parents)
    if both := sorted(seen & folders):
        raise ArchiveError(f"holds {both[0]!r} as a file and as a folder")


def _check_overlaps(entries: list[zipfile.ZipInfo]) -> None:
    """Entries that share bytes make a small file unpack to a huge one without a high ratio in any entry."""
    end = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise ArchiveError(f"holds {entry.filename!r} on top of another entry")
        end = entry.header_offset + HEADER + entry.compress_size
