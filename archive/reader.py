"""A checked archive: open a .mar and verify everything that can be verified without running its code."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archive.container import Container, UnpackLimits, check_structure, naming
from archive.manifest import (
    CHECKSUMS,
    FIXED,
    MANIFEST,
    SIGNATURE,
    UNLISTED,
    VERSION_KEY,
    check_card,
    check_manifest,
    documents_of,
    object_of,
    text_of,
)
from errors import ArchiveError
from handlers import golden

CHECKSUM_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")  # the format of sha256sum
SCHEMA_VERSION = 1
DEFAULT_LIMITS = UnpackLimits()


@dataclass(frozen=True)
class ArchiveFile:
    """One file of an archive: its path inside, size in bytes and sha256 in hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Archive:
    """A .mar whose structure and checksums are correct.

    `sha256` covers the whole file. `content_sha256` covers `checksums.sha256` and so every file but the manifest; it
    does not change when the archive is stamped with another version.
    """

    path: Path
    size: int
    sha256: str
    content_sha256: str
    files: tuple[ArchiveFile, ...]
    manifest: dict[str, Any]
    card: dict[str, Any]
    golden: dict[str, Any]

    @property
    def signature_sha256(self) -> str | None:
        """The sha256 of the signature, None when unsigned; the same key and content give the same signature."""
        return next((file.sha256 for file in self.files if file.name == SIGNATURE), None)

    @property
    def model_name(self) -> str:
        """The name under which TorchServe registers the model by default."""
        return str(self.manifest["model"]["modelName"])

    @property
    def version(self) -> str:
        """The version that TorchServe registers."""
        return str(self.manifest["model"][VERSION_KEY])

    def read(self, name: str) -> bytes:
        """Return the bytes of one file, the same that were checked.

        Raises ArchiveError when the archive has no such file, or when the file changed since.
        """
        with naming(self.path), Container.open(self.path) as container:
            entry = next((file for file in self.files if file.name == name), None)
            if entry is None:
                raise ArchiveError(f"has no {name}")
            return b"".join(verified(container, entry))


def verified(container: Container, file: ArchiveFile) -> Iterator[bytes]:
    """Yield the bytes of a checked file. Raises ArchiveError, at the end at the latest, when they have changed."""
    member, digest = container.member(file.name), hashlib.sha256()
    if member.size == file.size:
        for block in container.chunks(member):
            digest.update(block)
            yield block
    if digest.hexdigest() != file.sha256:
        raise ArchiveError(f"{file.name} was changed after it had been checked")


def open_archive(path: Path, limits: UnpackLimits = DEFAULT_LIMITS) -> Archive:
    """Open the archive at `path` and check structure, checksums, manifest, model card and golden answers.

    Raises ArchiveError, one line that begins with the path, when anything is missing, unsafe or different.
    """
    with naming(path), Container.open(path) as container:
        check_structure(container.members, limits)
        card_name, golden_name = documents_of([member.name for member in container.members])
        names = (MANIFEST, card_name, golden_name, CHECKSUMS, FIXED)
        _check_documents(container, names, limits)
        files, documents = _digested(container, names)
        _check_sums(files, text_of(documents[CHECKSUMS], CHECKSUMS))
        manifest, card, answers = (object_of(documents[name], name) for name in names[:3])
        check_manifest(manifest, documents[MANIFEST], documents[FIXED], {file.name for file in files})
        check_card(card, manifest, SCHEMA_VERSION)
        _check_golden(answers, golden_name)
        content = next(file.sha256 for file in files if file.name == CHECKSUMS)
        container.file.seek(0)
        sha256 = hashlib.file_digest(container.file, "sha256").hexdigest()
        return Archive(path, container.file.tell(), sha256, content, files, manifest, card, answers)


def _check_documents(container: Container, names: Sequence[str], limits: UnpackLimits) -> None:
    sizes = {member.name: member.size for member in container.members}
    for name in names:
        if name == FIXED and name not in sizes:
            raise ArchiveError("is of an earlier version, whose manifest no checksum covers: build and sign it again")
        if name not in sizes:
            raise ArchiveError(f"has no {name}")
        if sizes[name] > limits.document:
            raise ArchiveError(f"{name} is larger than {limits.document} bytes")


def _digested(container: Container, names: Sequence[str]) -> tuple[tuple[ArchiveFile, ...], dict[str, bytes]]:
    """Return all files, and the bytes of the documents: the same bytes that were digested."""
    files, documents = [], {}
    for member in container.members:
        digest, kept = hashlib.sha256(), []
        for block in container.chunks(member):
            digest.update(block)
            if member.name in names:
                kept.append(block)
        files.append(ArchiveFile(member.name, member.size, digest.hexdigest()))
        documents[member.name] = b"".join(kept)
    return tuple(files), documents


def _check_sums(files: tuple[ArchiveFile, ...], text: str) -> None:
    listed: dict[str, str] = {}
    for line in text.splitlines():
        match = CHECKSUM_LINE.fullmatch(line)
        if match is None or match[2] in listed:
            raise ArchiveError(f"{CHECKSUMS} has the unreadable line {line[:80]!r}")
        listed[match[2]] = match[1]
    present = {file.name: file.sha256 for file in files if file.name not in UNLISTED}
    for name in sorted(present.keys() ^ listed.keys()):
        raise ArchiveError(f"{name} is {'not listed in' if name in present else 'missing, but listed in'} {CHECKSUMS}")
    for name, sha256 in present.items():
        if listed[name] != sha256:
            raise ArchiveError(f"{name} has sha256 {sha256}, {CHECKSUMS} says {listed[name]}")


def _check_golden(document: dict[str, object], name: str) -> None:
    try:
        golden.of_document(document, name)
    except ValueError as error:
        raise ArchiveError(str(error)) from None
