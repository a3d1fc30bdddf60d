"""Archives with something wrong in them, and their checksums made right again."""

import hashlib
import zipfile
from pathlib import Path

HANDLER, CHECKSUMS, MANIFEST = "policy_handler.py", "checksums.sha256", "MAR-INF/MANIFEST.json"
Files = dict[str, bytes]


def contents(source: Path) -> Files:
    with zipfile.ZipFile(source) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def summed(files: Files) -> Files:
    """The files with the list of their checksums made right."""
    names = sorted(files.keys() - {CHECKSUMS, MANIFEST})
    lines = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in names)
    return files | {CHECKSUMS: lines.encode()}
