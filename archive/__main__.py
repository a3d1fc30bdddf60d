"""`python -m archive COMMAND`: a key pair that signs archives, and a signature beside an archive of another maker."""

import sys
from collections.abc import Sequence
from pathlib import Path

import commands
from archive.signing import generate_keys, sign_file
from errors import MarinaError

USAGE = """\
usage: python -m archive COMMAND

  keygen FOLDER       write a key pair: builds sign archives with one key, deliveries verify them with the other
  sign FILE.mar KEY   write FILE.mar.ed25519, so that `make adopt` trusts an archive of another maker
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status."""
    match list(arguments):
        case ["keygen", folder] if not folder.startswith("-"):
            return _keygen(Path(folder))
        case ["sign", archive, key]:
            return _sign(Path(archive), Path(key))
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


def _sign(archive: Path, key: Path) -> int:
    try:
        print(f"signature: {sign_file(archive, key)}")
    except MarinaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
