"""Writes a zip whose bytes depend on nothing but the names and contents of its files."""

import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that the format can hold
MODE = (stat.S_IFREG | 0o644) << 16  # the upper half of external_attr is the Unix mode
UNIX = 3


def write_zip(files: Mapping[str, bytes], target: Path) -> None:
    """Writes `files`, path inside → contents, to `target`, sorted and with fixed times and modes.

    Stored rather than deflated: weights hardly shrink, and different builds of zlib deflate to different bytes.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            archive.writestr(plain_entry(name), files[name])


def plain_entry(name: str) -> zipfile.ZipInfo:
    """A header without anything of the machine or the moment it was made on."""
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.create_system = UNIX
    entry.external_attr = MODE
    return entry


def copy_stream(source: IO[bytes], target: IO[bytes], chunk: int = 1024 * 1024) -> None:
    """Copies without holding more than `chunk` bytes."""
    while block := source.read(chunk):
        target.write(block)
