"""The archive of `pack` has the files and the manifest of torch-model-archiver's own archive."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from archive.manifest import CHECKSUMS, FIXED, MANIFEST
from serialize.checkpoints import ROOT
from serialize.pack import CREATED_ON, ArchiveContents, archive_files, pack, write_model_folder

NAME = "cartpole"


@pytest.fixture
def contents(tmp_path: Path) -> ArchiveContents:
    artifact = tmp_path / "model.onnx"
    artifact.write_bytes(bytes(range(256)))
    card: dict[str, Any] = {"schema_version": 1, "model_name": NAME, "description": "Käfig"}
    golden = {
        "tolerance": 1e-4,
        "samples": [{"content_type": "application/json", "body": "e30=", "predictions": [{"action": 0}]}],
    }
    return ArchiveContents(NAME, "1.0", ROOT / "handlers" / "policy_handler.py", artifact, card, golden)


def read_archive(path: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of an archive, and its manifest."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    return files, json.loads(files.pop(MANIFEST))


def archived(contents: ArchiveContents, folder: Path, exported: Path) -> Path:
    """The archive that torch-model-archiver makes of the files in `folder`."""
    files = archive_files(contents)
    own = {contents.handler.name, contents.artifact.name}
    extra = write_model_folder({name: body for name, body in files.items() if name not in own}, folder / "extra")
    write_model_folder({name: body for name, body in files.items() if name in own}, folder)
    options = {
        "--model-name": contents.model_name,
        "--version": contents.version,
        "--handler": contents.handler.name,
        "--serialized-file": contents.artifact.name,
        # It copies the items of a folder one by one, and reads a path with a comma as two: hence a relative path.
        "--extra-files": os.path.relpath(extra, folder),
        "--export-path": str(exported),
    }
    command = [sys.executable, "-m", "model_archiver.model_packaging"]
    command += [word for option in options.items() for word in option]
    # It works in TMPDIR/MODEL_NAME and deletes what it finds there.
    subprocess.run(command, cwd=folder, env=os.environ | {"TMPDIR": str(exported)}, check=True, capture_output=True)
    return exported / f"{contents.model_name}.mar"


def test_pack_writes_the_files_and_manifest_of_torch_model_archiver(contents: ArchiveContents, tmp_path: Path) -> None:
    exported, work = tmp_path / "exported", tmp_path / "work"
    exported.mkdir()
    work.mkdir()
    files, manifest = read_archive(archived(contents, tmp_path / "staged", exported))

    archive = pack(contents, archive_files(contents), work, tmp_path / "cartpole.mar")

    ours, our_manifest = read_archive(archive.path)
    assert {name: body for name, body in ours.items() if name not in (FIXED, CHECKSUMS)} == files
    assert our_manifest == manifest | {"createdOn": CREATED_ON}
    assert {type(value) for value in manifest["model"].values()} == {str}


def test_pack_twice_writes_the_same_bytes(contents: ArchiveContents, tmp_path: Path) -> None:
    found = []
    for number in (1, 2):
        work = tmp_path / f"work{number}"
        work.mkdir()
        found.append(pack(contents, archive_files(contents), work, tmp_path / f"{number}.mar").path.read_bytes())
    assert found[0] == found[1]
