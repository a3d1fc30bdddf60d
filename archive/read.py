"""Reads a .mar and checks all that can be checked without running anything in it."""

import hashlib
import re
from pathlib import Path

from archive.container import Container, naming
from archive.documents import object_of, text_of
from archive.manifest import check_card, check_manifest
from archive.model import CARD, CHECKSUMS, FIXED, GOLDEN, MANIFEST, UNLISTED, Archive, Entry
from archive.structure import Limits, check_structure
from errors import ArchiveError
from handlers import golden

CHECKSUM_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")  # the format of sha256sum
SCHEMA_VERSION = 1
DEFAULT_LIMITS = Limits()
DOCUMENTS = (MANIFEST, CARD, GOLDEN, CHECKSUMS, FIXED)


def open_archive(path: Path, limits: Limits = DEFAULT_LIMITS) -> Archive:
    """Return the archive at `path`, wholly checked: structure, checksums, manifest, model card, golden answers.

    Raises ArchiveError, one line that opens with the path, when anything is missing, unsafe or differs.
    """
    with naming(path), Container.open(path) as container:
        check_structure(container.members, limits)
        _check_documents(container, limits)
        files, documents = _digested(container)
        _check_sums(files, text_of(documents[CHECKSUMS], CHECKSUMS))
        manifest, card, answers = (object_of(documents[name], name) for name in (MANIFEST, CARD, GOLDEN))
        check_manifest(manifest, documents[MANIFEST], documents[FIXED], {file.name for file in files})
        check_card(card, manifest, SCHEMA_VERSION)
        _check_golden(answers)
        content = next(file.sha256 for file in files if file.name == CHECKSUMS)
        container.file.seek(0)
        sha256 = hashlib.file_digest(container.file, "sha256").hexdigest()
        return Archive(path, container.file.tell(), sha256, content, files, manifest, card, answers)


def _check_documents(container: Container, limits: Limits) -> None:
    sizes = {member.name: member.size for member in container.members}
    for name in DOCUMENTS:
        if name == FIXED and name not in sizes:
            raise ArchiveError("is of an earlier version, whose manifest no checksum covers: build and sign it again")
        if name not in sizes:
            raise ArchiveError(f"has no {name}")
        if sizes[name] > limits.document:
            raise ArchiveError(f"{name} is larger than {limits.document} bytes")


def _digested(container: Container) -> tuple[tuple[Entry, ...], dict[str, bytes]]:
    """All files, and the bytes of the documents: those very bytes that were digested."""
    files, documents = [], {}
    for member in container.members:
        digest, kept = hashlib.sha256(), []
        for block in container.chunks(member):
            digest.update(block)
            if member.name in DOCUMENTS:
                kept.append(block)
        files.append(Entry(member.name, member.size, digest.hexdigest()))
        documents[member.name] = b"".join(kept)
    return tuple(files), documents


def _check_sums(files: tuple[Entry, ...], text: str) -> None:
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


def _check_golden(document: dict[str, object]) -> None:
    try:
        golden.of(document, GOLDEN)
    except ValueError as error:
        raise ArchiveError(str(error)) from None
