"""`python -m archive keygen FOLDER`: a key pair that signs archives and proves it."""

import sys
from collections.abc import Sequence
from pathlib import Path

import commands
from archive.signing import generate_keys
from errors import MarinaError

USAGE = """\
usage: python -m archive keygen FOLDER

  keygen FOLDER   write a key pair: builds sign archives with one key, deliveries verify them with the other
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    match list(arguments):
        case ["keygen", folder] if not folder.startswith("-"):
            return _keygen(Path(folder))
        case _:
            sys.stderr.write(USAGE)
            return 2


def _keygen(folder: Path) -> int:
    try:
        private, public = generate_keys(folder)
    except (MarinaError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"builds sign with      signing.key={private}")
    print(f"deliveries check with signing.public_key={public} signing.required=true")
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
