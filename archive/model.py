"""What a checked archive is: its files, manifest, model card and golden answers."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archive.container import Container, naming
from errors import ArchiveError

MANIFEST = "MAR-INF/MANIFEST.json"
FIXED = "MAR-INF/FIXED.json"
"""The manifest without what a publication assigns; a file like any other, so checksums and signature cover it."""
CARD = "model.json"
GOLDEN = "golden.json"
CHECKSUMS = "checksums.sha256"
SIGNATURE = "signature.ed25519"
UNLISTED = (MANIFEST, CHECKSUMS, SIGNATURE)
"""The files that the list of checksums does not name."""
VERSION_KEY = "modelVersion"
REGISTRATION = ("threads", "coalesce")
"""What a manifest may say of a registration beyond TorchServe's own parameters; each a whole number from 1 to MOST."""
MOST = 4096
NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
# TorchServe compares versions as numbers between dots and refuses others. Short, as they are part of file names.
VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,5}")


@dataclass(frozen=True)
class Entry:
    """One file of an archive: its path inside, its size in bytes and its sha256 in hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Archive:
    """A .mar whose structure and checksums hold.

    `sha256` covers the whole file; `content_sha256` covers `checksums.sha256` and with it every file, so it stays the
    same when only version and registration are stamped anew.
    """

    path: Path
    size: int
    sha256: str
    content_sha256: str
    files: tuple[Entry, ...]
    manifest: dict[str, Any]
    card: dict[str, Any]
    golden: dict[str, Any]

    @property
    def signature_sha256(self) -> str | None:
        """The sha256 of its signature; None for an unsigned archive. The same key and content sign the same."""
        return next((file.sha256 for file in self.files if file.name == SIGNATURE), None)

    @property
    def model_name(self) -> str:
        """The name that TorchServe registers the model under, unless told another."""
        return str(self.manifest["model"]["modelName"])

    @property
    def version(self) -> str:
        """The version that TorchServe registers, from the manifest."""
        return str(self.manifest["model"][VERSION_KEY])

    def read(self, name: str) -> bytes:
        """Return the bytes of one file, which are those that were checked.

        Raises ArchiveError for a file that the archive does not have, and when it was changed since.
        """
        with naming(self.path), Container.open(self.path) as container:
            entry = next((file for file in self.files if file.name == name), None)
            if entry is None:
                raise ArchiveError(f"has no {name}")
            return b"".join(verified(container, entry))


def verified(container: Container, file: Entry) -> Iterator[bytes]:
    """Yield the bytes of a file of a checked archive; raises ArchiveError, at the latest at its end, for any others."""
    member, digest = container.member(file.name), hashlib.sha256()
    if member.size == file.size:
        for block in container.chunks(member):
            digest.update(block)
            yield block
    if digest.hexdigest() != file.sha256:
        raise ArchiveError(f"{file.name} was changed after it had been checked")
