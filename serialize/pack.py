"""Packs a model into NAME.mar, reproducibly.

    card, golden answers, artifact, handler files ──archive_files──▶ contents ──pack: manifest, seal, zip──▶ NAME.mar

The contents and the manifest are those of torch-model-archiver, whose own archive would hold the current time and the
files' order on the disk. A test compares both.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archive import Archive, write_sealed
from archive.manifest import CARD, GOLDEN
from serialize.checkpoints import ROOT

ARCHIVER_VERSION = "0.12.0"  # of the manifest; a test compares it with the installed torch-model-archiver
CREATED_ON = "01/01/1980 00:00:00"  # the archiver writes the current time; equal inputs must give equal bytes
STARTUP_MODULE = "sitecustomize.py"  # Python imports it when the worker starts


@dataclass(frozen=True)
class ArchiveContents:
    """The variable parts of an archive: `artifact` is the exported network, `network_files` the user's code for it."""

    model_name: str
    version: str
    handler: Path
    artifact: Path
    card: dict[str, Any]
    golden: dict[str, Any]
    signing_key: Path | None = None
    network_files: Mapping[str, Path] = field(default_factory=dict)


def archive_files(contents: ArchiveContents) -> dict[str, bytes]:
    """Return the files of the archive by their path in it, without manifest, checksums and signature.

    It has no model-config.yaml, because TorchServe prefers the values of that file to those of the registration, and
    120 s to a response timeout that the file leaves out.
    """
    files = {
        CARD: json_bytes(contents.card),
        GOLDEN: json_bytes(contents.golden),
        contents.artifact.name: contents.artifact.read_bytes(),
        contents.handler.name: contents.handler.read_bytes(),
        **{name: path.read_bytes() for name, path in contents.network_files.items()},
        STARTUP_MODULE: (ROOT / "handlers" / "lazy_torch.py").read_bytes(),
    }
    return files | {str(path.relative_to(ROOT)): path.read_bytes() for path in (ROOT / "handlers").rglob("*.py")}


def write_model_folder(files: dict[str, bytes], folder: Path) -> Path:
    """Write the files into the new `folder`, as a worker's model folder has them, and return it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def pack(contents: ArchiveContents, files: dict[str, bytes], work: Path, target: Path) -> Archive:
    """Write the archive in the private folder `work`, move it to `target` atomically, and return it checked."""
    return write_sealed(files, _manifest(contents), contents.signing_key, work, target)


def json_bytes(document: dict[str, Any]) -> bytes:
    """Return JSON with sorted keys, because the order of a dict has no meaning."""
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _manifest(contents: ArchiveContents) -> dict[str, Any]:
    model = {
        "modelName": contents.model_name,
        "modelVersion": contents.version,
        "handler": contents.handler.name,
        "serializedFile": contents.artifact.name,
    }
    return {"createdOn": CREATED_ON, "runtime": "python", "model": model, "archiverVersion": ARCHIVER_VERSION}
