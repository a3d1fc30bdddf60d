"""Archives for tests, whole and broken."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from archive import write_zip

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
    "golden.json": json.dumps({"tolerance": 1e-4, "samples": []}).encode(),
    "model-config.yaml": b"responseTimeout: 120\n",
    "model.onnx": bytes(range(256)) * 40,
    "toy_handler.py": b"class Toy: ...\n",
    "handlers/__init__.py": b"",
}
MANIFEST, CHECKSUMS = "MAR-INF/MANIFEST.json", "checksums.sha256"


def checked(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """`contents` with the list of their checksums."""
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(contents.items())]
    listed = "".join(line for line in lines if not line.endswith(f"  {MANIFEST}\n"))
    return dict(contents) | {CHECKSUMS: listed.encode()}


def archive_at(path: Path, contents: Mapping[str, bytes] = CONTENTS) -> Path:
    """A whole archive."""
    write_zip(checked(contents), path)
    return path


def with_entry(path: Path, entry: zipfile.ZipInfo | str, data: bytes = b"x") -> Path:
    """A whole archive to which one entry was added behind its maker's back."""
    archive_at(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, data)
    return path
