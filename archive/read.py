"""Reads a .mar and checks all that can be checked without running anything in it."""

import hashlib
import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

from archive.model import CARD, CHECKSUMS, GOLDEN, MANIFEST, REGISTRATION, SIGNATURE, Archive, Entry
from archive.structure import Limits, check_structure
from errors import ArchiveError

CHUNK = 1024 * 1024
CHECKSUM_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")  # the format of sha256sum
SCHEMA_VERSION = 1
DEFAULT_LIMITS = Limits()


def open_archive(path: Path, limits: Limits = DEFAULT_LIMITS) -> Archive:
    """The archive at `path`, wholly checked: structure, checksums, manifest, model card.

    Raises ArchiveError, one line that opens with the path, when anything is missing, unsafe or differs.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        with zipfile.ZipFile(path) as source:
            return _read(path, source, sha256, limits)
    except ArchiveError as error:
        raise ArchiveError(f"{path}: {error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ArchiveError(f"{path}: not a readable archive: {error}") from None
    except OSError as error:
        raise ArchiveError(f"{path}: {error.strerror or error}") from None


def _read(path: Path, source: zipfile.ZipFile, sha256: str, limits: Limits) -> Archive:
    entries = source.infolist()
    check_structure(entries, limits)
    for needed in (MANIFEST, CARD, GOLDEN, CHECKSUMS):
        if needed not in source.namelist():
            raise ArchiveError(f"has no {needed}")
    files = tuple(Entry(entry.filename, entry.file_size, _digest(source, entry)) for entry in entries)
    _check_sums(files, _document(source, CHECKSUMS, limits))
    manifest, card, golden = (_json(source, name, limits) for name in (MANIFEST, CARD, GOLDEN))
    _check_manifest(manifest, {file.name for file in files})
    _check_card(card, manifest)
    content = next(file.sha256 for file in files if file.name == CHECKSUMS)
    return Archive(path, path.stat().st_size, sha256, content, files, manifest, card, golden)


def _digest(source: zipfile.ZipFile, entry: zipfile.ZipInfo) -> str:
    digest = hashlib.sha256()
    with source.open(entry) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _document(source: zipfile.ZipFile, name: str, limits: Limits) -> str:
    if source.getinfo(name).file_size > limits.document:
        raise ArchiveError(f"{name} is larger than {limits.document} bytes")
    try:
        return source.read(name).decode("utf-8")
    except UnicodeDecodeError:
        raise ArchiveError(f"{name} is not UTF-8 text") from None


def _json(source: zipfile.ZipFile, name: str, limits: Limits) -> dict[str, Any]:
    try:
        document = json.loads(_document(source, name, limits))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ArchiveError(f"{name} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ArchiveError(f"{name} is not a JSON object")
    return document


def _check_sums(files: tuple[Entry, ...], text: str) -> None:
    listed: dict[str, str] = {}
    for line in text.splitlines():
        match = CHECKSUM_LINE.fullmatch(line)
        if match is None:
            raise ArchiveError(f"{CHECKSUMS} has the unreadable line {line[:80]!r}")
        listed[match[2]] = match[1]
    present = {file.name: file.sha256 for file in files if file.name not in (MANIFEST, CHECKSUMS, SIGNATURE)}
    for name in sorted(present.keys() ^ listed.keys()):
        raise ArchiveError(f"{name} is {'not listed in' if name in present else 'missing, but listed in'} {CHECKSUMS}")
    for name, sha256 in present.items():
        if listed[name] != sha256:
            raise ArchiveError(f"{name} has sha256 {sha256}, {CHECKSUMS} says {listed[name]}")


def _check_manifest(manifest: dict[str, Any], names: set[str]) -> None:
    model = manifest.get("model")
    if not isinstance(model, dict):
        raise ArchiveError(f"{MANIFEST} has no model")
    for key in ("modelName", "modelVersion", "handler", "serializedFile"):
        if not isinstance(model.get(key), str) or not model[key]:
            raise ArchiveError(f"{MANIFEST} has no model.{key}")
    for key in ("handler", "serializedFile", "configFile"):
        if (name := model.get(key)) is not None and name not in names:
            raise ArchiveError(f"{MANIFEST} names {name!r} as {key}, which is not in the archive")
    for key in REGISTRATION:
        if (number := model.get(key)) is not None and (type(number) is not int or number < 1):
            raise ArchiveError(f"{MANIFEST} has {number!r} as model.{key}, which must be a whole number from 1")


def _check_card(card: dict[str, Any], manifest: dict[str, Any]) -> None:
    if card.get("schema_version") != SCHEMA_VERSION:
        raise ArchiveError(f"{CARD} has schema_version {card.get('schema_version')!r}, this kit reads {SCHEMA_VERSION}")
    if card.get("model_name") != manifest["model"]["modelName"]:
        raise ArchiveError(
            f"{CARD} describes {card.get('model_name')!r}, {MANIFEST} {manifest['model']['modelName']!r}"
        )
