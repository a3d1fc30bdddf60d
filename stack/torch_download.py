"""Warns that an image for CPUs contains CUDA when TORCH_INDEX is empty: `python3 -m stack.torch_download TARGET`.

The default index has one torch for Linux, which depends on CUDA. The size in the warning is that of the same packages
in `.venv`, read from pip's records; without them it is not exact. Nothing is downloaded.
"""

import csv
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path

import commands

USAGE = f"usage: python3 -m stack.torch_download TARGET\n\n{__doc__}"

VENV = Path(__file__).resolve().parent.parent / ".venv"
OF_CUDA = re.compile(r"nvidia-|cuda-")
TEXT = """\
TORCH_INDEX is empty: torch comes from pip's default index, with CUDA, which this image never uses ({size}).
TORCH_INDEX=URL, an index of torch's wheels for CPUs, avoids that: {cure}
"""


def cuda_bytes(folder: Path) -> int:
    """Return the installed size of torch's CUDA packages in a virtual environment; 0 when it has none."""
    paths = [str(path) for path in folder.glob("lib/python*/site-packages")]
    packages = distributions(path=paths)
    return sum(size for each in packages if OF_CUDA.match(each.metadata["Name"]) for size in _sizes(each))


def _sizes(package: Distribution) -> Iterator[int]:
    """Yield the size of each file that pip has recorded; it records none for its own record."""
    for row in csv.reader((package.read_text("RECORD") or "").splitlines()):
        if row[2]:
            yield int(row[2])


def main(arguments: Sequence[str]) -> int:
    """Print the warning and return the exit status; the one argument is the make target that builds the image."""
    if len(arguments) != 1:
        sys.stderr.write(USAGE)
        return 2
    found = cuda_bytes(VENV)
    size = f"{found / 1e9:.1f} GB in .venv" if found else "several GB"
    sys.stdout.write(TEXT.format(size=size, cure=f"make {arguments[0]} TORCH_INDEX=URL"))
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
