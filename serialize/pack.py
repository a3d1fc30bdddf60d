"""Packs a model into NAME.mar: torch-model-archiver lays the files out, then they are zipped reproducibly.

    staged files ──torch-model-archiver──▶ folder with manifest ──sealed, zip──▶ NAME.mar

The archiver's own zip would carry the times of the files, in the order of the folder.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from archive import Archive, open_archive, sealed, write_zip
from archive.manifest import CARD, GOLDEN, MANIFEST
from errors import BuildError
from files import replace_durably
from serialize.checkpoints import ROOT

# The archiver writes the moment; the same inputs must give the same bytes.
CREATED_ON = "01/01/1980 00:00:00"
CONFIG = "model-config.yaml"
STARTUP_TIMEOUT_S = 120
START = "sitecustomize.py"  # what Python runs when the worker starts


@dataclass(frozen=True)
class ArchiveContents:
    """What goes into an archive beside the handlers; `artifact` is the path of the exported network."""

    model_name: str
    version: str
    handler: Path
    artifact: Path
    card: dict[str, Any]
    golden: dict[str, Any]
    response_timeout_s: int
    signing_key: Path | None = None


def stage(contents: ArchiveContents, folder: Path) -> Path:
    """Lays out in `folder` what the worker will find in its model folder, and returns it."""
    folder.mkdir()
    (folder / CARD).write_bytes(json_bytes(contents.card))
    (folder / GOLDEN).write_bytes(json_bytes(contents.golden))
    (folder / CONFIG).write_text(yaml.safe_dump(_config(contents)))
    shutil.copyfile(contents.artifact, folder / contents.artifact.name)
    shutil.copyfile(contents.handler, folder / contents.handler.name)
    shutil.copyfile(ROOT / "handlers" / "lazy_torch.py", folder / START)
    for file in sorted((ROOT / "handlers").rglob("*.py")):
        target = folder / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return folder


def pack(contents: ArchiveContents, staged: Path, work: Path, target: Path) -> Archive:
    """Makes `target` of a staged folder, atomically, inside the private folder `work`; returns it checked."""
    files = _files(_archived(contents, staged, work))
    manifest = json.loads(files.pop(MANIFEST)) | {"createdOn": CREATED_ON}
    finished = work / target.name
    write_zip(sealed(files, manifest, contents.signing_key), finished)
    open_archive(finished)
    replace_durably(finished, target)
    return open_archive(target)


def json_bytes(document: dict[str, Any]) -> bytes:
    """Sorted keys, as the order of a dict is no part of what it says."""
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _config(contents: ArchiveContents) -> dict[str, Any]:
    # No batchSize or maxBatchDelay: TorchServe prefers those in the archive to those it is told at registration.
    # The two timeouts stand here because TorchServe takes 120 s for each that a config file leaves out.
    return {"responseTimeout": contents.response_timeout_s, "startupTimeout": STARTUP_TIMEOUT_S}


def _archived(contents: ArchiveContents, staged: Path, work: Path) -> Path:
    """Runs torch-model-archiver on the staged files and returns the folder it made."""
    private, exported = work / "tmp", work / "exported"
    private.mkdir()
    exported.mkdir()
    extra = work / "extra"
    extra.mkdir()
    for item in (CARD, GOLDEN, START, "handlers"):
        (extra / item).symlink_to(staged / item)
    options = {
        "--model-name": contents.model_name,
        "--version": contents.version,
        "--handler": contents.handler.name,
        "--serialized-file": contents.artifact.name,
        "--config-file": CONFIG,
        # It takes a folder's items one by one, and a path with a comma for two: so a relative one.
        "--extra-files": os.path.relpath(extra, staged),
        "--export-path": str(exported),
        "--archive-format": "no-archive",
    }
    command = [sys.executable, "-m", "model_archiver.model_packaging"]
    command += [word for option in options.items() for word in option]
    # It works in TMPDIR/MODEL_NAME and deletes what it finds there: give it a folder where nothing else is.
    environment = os.environ | {"TMPDIR": str(private)}
    done = subprocess.run(command, cwd=staged, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise BuildError(f"{contents.model_name}: torch-model-archiver failed: {last}")
    return exported / contents.model_name


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
