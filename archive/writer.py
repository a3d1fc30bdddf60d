"""Writes archives so that the same content has the same bytes, and stamps them with another version.

sealed        files ──▶ files, checksums, signature
write_zip     files ──▶ NAME.mar
write_sealed  files ──▶ NAME.mar, sealed and checked
stamp         checked archive ──▶ the same archive under another version
"""

import hashlib
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archive.container import Container, named
from archive.manifest import (
    CHECKSUMS,
    FIXED,
    MANIFEST,
    NONE,
    REGISTRATION,
    SIGNATURE,
    UNLISTED,
    assigned,
    check_version,
    fixed,
    manifest_bytes,
)
from archive.reader import Archive, open_archive, verified
from errors import ArchiveError
from files import explained, replace_durably, staging_folder

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time of the format
MODE = (stat.S_IFREG | 0o644) << 16  # the upper half of external_attr is the Unix mode
UNIX = 3


def sealed(files: Mapping[str, bytes], manifest: dict[str, Any], key: Path | None = None) -> dict[str, bytes]:
    """Return the complete content of an archive of `files` (path inside → contents), signed with `key`.

    Earlier checksums and signatures are replaced. Raises ConfigError when `key` is not a key file.
    """
    listed = {name: content for name, content in files.items() if name not in UNLISTED}
    listed[FIXED] = manifest_bytes(fixed(manifest))
    checksums = "".join(f"{hashlib.sha256(listed[name]).hexdigest()}  {name}\n" for name in sorted(listed)).encode()
    whole = listed | {MANIFEST: manifest_bytes(manifest), CHECKSUMS: checksums}
    if key is None:
        return whole
    # Imported here: programs that sign nothing need no cryptography.
    from archive.signing import signature_of

    return whole | {SIGNATURE: signature_of(checksums, key)}


def write_zip(files: Mapping[str, bytes], target: Path) -> None:
    """Write `files` (path inside → contents) to `target`, sorted, with fixed times and modes.

    They are stored, not deflated: weights hardly shrink, and builds of zlib differ in the bytes that they deflate to.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            archive.writestr(plain_entry(name), files[name])


def write_sealed(
    files: Mapping[str, bytes], manifest: dict[str, Any], key: Path | None, work: Path, target: Path
) -> Archive:
    """Write an archive in the private folder `work`, move it to `target` atomically, and return it checked."""
    finished = work / target.name
    write_zip(sealed(files, manifest, key), finished)
    open_archive(finished)
    replace_durably(finished, target)
    return open_archive(target)


def plain_entry(name: str) -> zipfile.ZipInfo:
    """Return a header that is independent of the machine and the time."""
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.create_system = UNIX
    entry.external_attr = MODE
    return entry


def stamp(source: Archive, version: str, target: Path, registration: Mapping[str, int] = NONE) -> Archive:
    """Write a checked archive to `target` under `version`, atomically, and return the checked copy.

    The copy contains the files that were checked and nothing else of the source's container. `registration` replaces
    that of an earlier stamp. Only the manifest differs, so `content_sha256` stays; the same content, version and
    registration give the same bytes. Raises ArchiveError when a file of the source has changed since it was checked or
    the version is invalid, and StoreError when the target cannot be written.
    """
    check_version(version)
    manifest = assigned(source.manifest, version, registration)
    try:
        with explained(target, source.size), staging_folder(target.parent, target.name) as work:
            copy = work / target.name
            _rewrite(source, manifest_bytes(manifest), copy)
            open_archive(copy)
            replace_durably(copy, target)
            return open_archive(target)
    except ArchiveError as error:
        raise named(source.path, error) from None


def stamped(archive: Archive) -> dict[str, int]:
    """Return the registration that a stamp wrote into the manifest."""
    return {key: archive.manifest["model"][key] for key in REGISTRATION if key in archive.manifest["model"]}


def _rewrite(archive: Archive, manifest: bytes, target: Path) -> None:
    """Write the files of a checked archive, with another manifest, to a new container."""
    with Container.open(archive.path) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for file in sorted(archive.files, key=lambda file: file.name):
            entry = plain_entry(file.name)
            if file.name == MANIFEST:
                new.writestr(entry, manifest)
                continue
            entry.file_size = file.size  # zipfile decides by it whether Zip64 is needed
            with new.open(entry, "w") as outside:
                for block in verified(old, file):
                    outside.write(block)
