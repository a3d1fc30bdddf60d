"""`python disk.py NAME ...`: bytes on disk of these packages and of all that they need, in this environment.

Runs in a peer's environment, so it needs nothing but Python.
"""

import importlib.metadata
import json
import re
import sys
from pathlib import Path


def closure(names: list[str]) -> dict[str, importlib.metadata.Distribution]:
    """Every installed package that is reached from `names`; what is for an extra or another machine is not there."""
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
    """Bytes of its files; what is shared with another package counts for both."""
    paths = (Path(str(distribution.locate_file(each))) for each in distribution.files or [])
    return sum(path.stat().st_size for path in paths if path.is_file())


if __name__ == "__main__":
    sys.stdout.write(json.dumps(sum(size(each) for each in closure(sys.argv[1:]).values())))
