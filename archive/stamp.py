"""Copies an archive under another version, with the settings of its registration."""

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from archive.model import MANIFEST, REGISTRATION, Archive
from archive.read import open_archive
from archive.workplace import private_folder, publish
from archive.write import copy_stream, plain_entry
from errors import ArchiveError

# TorchServe compares versions as numbers between dots and refuses others.
VERSION = re.compile(r"[0-9]+(\.[0-9]+)*")


NONE: Mapping[str, int] = MappingProxyType({})


def stamp(source: Path, version: str, target: Path, registration: Mapping[str, int] = NONE) -> Archive:
    """Writes `source` to `target` under `version`, atomically, and returns the checked copy.

    `registration` replaces what an earlier stamp said as its `REGISTRATION`. Only the manifest differs, so
    `content_sha256` stays; the same source, version and registration give the same bytes.
    Raises ArchiveError when the source is broken or unsafe, or the version is none.
    """
    if not VERSION.fullmatch(version):
        raise ArchiveError(f"{version!r} is not a version: numbers with dots between them are")
    archive = open_archive(source)
    model = {key: value for key, value in archive.manifest["model"].items() if key not in REGISTRATION}
    manifest = archive.manifest | {"model": model | {"modelVersion": version, **registration}}
    with private_folder(target.parent, target.name) as work:
        copy = work / target.name
        _copy(source, manifest_bytes(manifest), copy)
        open_archive(copy)
        publish(copy, target)
    return open_archive(target)


def stamped(archive: Archive) -> dict[str, int]:
    """What a stamp said of the registration."""
    return {key: archive.manifest["model"][key] for key in REGISTRATION if key in archive.manifest["model"]}


def manifest_bytes(manifest: dict[str, object]) -> bytes:
    """The manifest as it stands in an archive: sorted keys, so that the same content has the same bytes."""
    return (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()


def _copy(source: Path, manifest: bytes, target: Path) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in sorted(old.namelist()):
            if name == MANIFEST:
                new.writestr(plain_entry(name), manifest)
                continue
            entry = plain_entry(name)
            entry.file_size = old.getinfo(name).file_size  # tells zipfile whether it needs zip64
            with old.open(name) as inside, new.open(entry, "w") as outside:
                copy_stream(inside, outside)
