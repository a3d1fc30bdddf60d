"""Archives with something wrong in them, and their checksums made right again."""

import json
import zipfile
from pathlib import Path

from archive import sealed

HANDLER, MANIFEST = "policy_handler.py", "MAR-INF/MANIFEST.json"
Files = dict[str, bytes]


def contents(source: Path) -> Files:
    with zipfile.ZipFile(source) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def summed(files: Files) -> Files:
    """The files with the list of their checksums made right; without a signature."""
    return sealed(files, json.loads(files[MANIFEST]))
