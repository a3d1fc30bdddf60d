"""`python disk.py NAME ...`: bytes on disk of these packages and of all that they require, in this environment.

It runs in a peer's environment, so it needs only Python.
"""

import importlib.metadata
import json
import re
import sys
from pathlib import Path


def closure(names: list[str]) -> dict[str, importlib.metadata.Distribution]:
    """Return all installed packages that `names` require, without extras and packages of other platforms."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in found[name].requires or []:
            needed = re.match(r"[\w.-]+", requirement)
            if needed is not None and "extra ==" not in requirement:
                waiting.append(needed[0])
    return found


def size(distribution: importlib.metadata.Distribution) -> int:
    """Return the bytes of its files; a file that two packages share counts for both."""
    paths = (Path(str(distribution.locate_file(each))) for each in distribution.files or [])
    return sum(path.stat().st_size for path in paths if path.is_file())


if __name__ == "__main__":
    sys.stdout.write(json.dumps(sum(size(each) for each in closure(sys.argv[1:]).values())))
