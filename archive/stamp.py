"""Copies an archive under another version, with the settings of its registration."""

from collections.abc import Mapping
from pathlib import Path

from archive.container import named
from archive.manifest import NONE, assigned, check_version, manifest_bytes
from archive.model import REGISTRATION, Archive
from archive.read import open_archive
from archive.write import rewrite
from errors import ArchiveError
from files import explained, replace_durably, staging_folder


def stamp(source: Archive, version: str, target: Path, registration: Mapping[str, int] = NONE) -> Archive:
    """Write a checked archive to `target` under `version`, atomically, and return the checked copy.

    The copy is written anew from the files that were checked: nothing else of the container of `source` is in it.
    `registration` replaces what an earlier stamp said as its `REGISTRATION`. Only the manifest differs, so
    `content_sha256` stays; the same content, version and registration give the same bytes.
    Raises ArchiveError when a file of the source was changed since it was checked or the version is none, and
    StoreError when the target cannot be written.
    """
    check_version(version)
    manifest = assigned(source.manifest, version, registration)
    try:
        with explained(target), staging_folder(target.parent, target.name) as work:
            copy = work / target.name
            rewrite(source, manifest_bytes(manifest), copy)
            open_archive(copy)
            replace_durably(copy, target)
            return open_archive(target)
    except ArchiveError as error:
        raise named(source.path, error) from None


def stamped(archive: Archive) -> dict[str, int]:
    """Return what a stamp said of the registration."""
    return {key: archive.manifest["model"][key] for key in REGISTRATION if key in archive.manifest["model"]}
