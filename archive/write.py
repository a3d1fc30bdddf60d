"""Writes a zip whose bytes depend on nothing but the names and contents of its files."""

import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

from archive.container import Container
from archive.model import MANIFEST, Archive, verified

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that the format can hold
MODE = (stat.S_IFREG | 0o644) << 16  # the upper half of external_attr is the Unix mode
UNIX = 3


def write_zip(files: Mapping[str, bytes], target: Path) -> None:
    """Write `files`, path inside → contents, to `target`, sorted and with fixed times and modes.

    Stored rather than deflated: weights hardly shrink, and different builds of zlib deflate to different bytes.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            archive.writestr(plain_entry(name), files[name])


def rewrite(archive: Archive, manifest: bytes, target: Path) -> None:
    """Write the files of a checked archive, with another manifest, to a container that holds nothing else of it.

    Raises ArchiveError when a file is no longer the one that was checked.
    """
    with Container.open(archive.path) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for file in sorted(archive.files, key=lambda file: file.name):
            entry = plain_entry(file.name)
            if file.name == MANIFEST:
                new.writestr(entry, manifest)
                continue
            entry.file_size = file.size  # tells zipfile whether it needs Zip64
            with new.open(entry, "w") as outside:
                for block in verified(old, file):
                    outside.write(block)


def plain_entry(name: str) -> zipfile.ZipInfo:
    """Return a header without anything of the machine or the moment it was made on."""
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.create_system = UNIX
    entry.external_attr = MODE
    return entry
