"""Archives for tests, whole and broken."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from archive import sealed, write_zip

SAMPLE = {"content_type": "application/json", "body": "W10=", "predictions": [1]}
CONTENTS: Mapping[str, bytes] = {
    "MAR-INF/MANIFEST.json": json.dumps(
        {
            "createdOn": "01/01/1980 00:00:00",
            "runtime": "python",
            "model": {
                "modelName": "toy",
                "modelVersion": "1.0",
                "handler": "toy_handler.py",
                "serializedFile": "model.onnx",
                "configFile": "model-config.yaml",
            },
        }
    ).encode(),
    "model.json": json.dumps({"schema_version": 1, "model_name": "toy", "kind": "vision"}).encode(),
    "golden.json": json.dumps({"tolerance": 1e-4, "samples": [SAMPLE]}).encode(),
    "model-config.yaml": b"responseTimeout: 120\n",
    "model.onnx": bytes(range(256)) * 40,
    "toy_handler.py": b"class Toy: ...\n",
    "handlers/__init__.py": b"",
}
MANIFEST, FIXED, CHECKSUMS = "MAR-INF/MANIFEST.json", "MAR-INF/FIXED.json", "checksums.sha256"
CARD = "model.json"


def checked(contents: Mapping[str, bytes], key: Path | None = None) -> dict[str, bytes]:
    """`contents` with what proves them: the manifest's fixed part, the list of checksums, a signature with `key`."""
    return sealed(contents, json.loads(contents.get(MANIFEST, CONTENTS[MANIFEST])), key)


def named(name: str) -> dict[str, bytes]:
    """The contents of an archive of another model."""
    entries = ("MAR-INF/MANIFEST.json", "model.json")
    return {**CONTENTS, **{entry: CONTENTS[entry].replace(b'"toy"', f'"{name}"'.encode()) for entry in entries}}


def archive_at(path: Path, contents: Mapping[str, bytes] = CONTENTS, key: Path | None = None) -> Path:
    """A whole archive."""
    write_zip(checked(contents, key), path)
    return path


def with_entry(path: Path, entry: zipfile.ZipInfo | str, data: bytes = b"x") -> Path:
    """A whole archive to which one entry was added behind its maker's back."""
    archive_at(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, data)
    return path
