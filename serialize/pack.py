"""Packs a model into NAME.mar, reproducibly.

    card, golden answers, artifact, handler files ──archive_files──▶ contents ──pack: manifest, seal, zip──▶ NAME.mar

The contents and the manifest are those of torch-model-archiver, whose own archive would hold the current time and the
files' order on the disk. A test compares both.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from archive import Archive, open_archive, sealed, write_zip
from archive.manifest import CARD, GOLDEN
from files import replace_durably
from serialize.checkpoints import ROOT

ARCHIVER_VERSION = "0.12.0"  # of the manifest; a test compares it with the installed torch-model-archiver
CREATED_ON = "01/01/1980 00:00:00"  # the archiver writes the current time; equal inputs must give equal bytes
CONFIG = "model-config.yaml"
STARTUP_TIMEOUT_S = 120
STARTUP_MODULE = "sitecustomize.py"  # Python imports it when the worker starts


@dataclass(frozen=True)
class ArchiveContents:
    """The variable parts of an archive; `artifact` is the path of the exported network."""

    model_name: str
    version: str
    handler: Path
    artifact: Path
    card: dict[str, Any]
    golden: dict[str, Any]
    response_timeout_s: int
    signing_key: Path | None = None


def archive_files(contents: ArchiveContents) -> dict[str, bytes]:
    """Return the files of the archive by their path in it, without manifest, checksums and signature."""
    files = {
        CARD: json_bytes(contents.card),
        GOLDEN: json_bytes(contents.golden),
        CONFIG: yaml.safe_dump(_model_config(contents)).encode(),
        contents.artifact.name: contents.artifact.read_bytes(),
        contents.handler.name: contents.handler.read_bytes(),
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
    finished = work / target.name
    write_zip(sealed(files, _manifest(contents), contents.signing_key), finished)
    open_archive(finished)
    replace_durably(finished, target)
    return open_archive(target)


def json_bytes(document: dict[str, Any]) -> bytes:
    """Return JSON with sorted keys, because the order of a dict has no meaning."""
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _manifest(contents: ArchiveContents) -> dict[str, Any]:
    model = {
        "modelName": contents.model_name,
        "modelVersion": contents.version,
        "handler": contents.handler.name,
        "serializedFile": contents.artifact.name,
        "configFile": CONFIG,
    }
    return {"createdOn": CREATED_ON, "runtime": "python", "model": model, "archiverVersion": ARCHIVER_VERSION}


def _model_config(contents: ArchiveContents) -> dict[str, Any]:
    # No batchSize or maxBatchDelay: TorchServe prefers the archive's values to those of the registration.
    # TorchServe uses 120 s for each timeout that a config file leaves out.
    return {"responseTimeout": contents.response_timeout_s, "startupTimeout": STARTUP_TIMEOUT_S}
