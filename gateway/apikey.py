"""`python -m gateway.apikey NAME` makes an API key: prints it once, and the line for the configuration.

A key holds 256 random bits, so a plain SHA-256 of it is safe to keep: there is nothing to guess.
"""

import hashlib
import re
import secrets
import sys

PREFIX = "marina_"
NAME = re.compile(r"[a-z][a-z0-9_]*")  # as settings.schema.base.Name has it
USAGE = "usage: python -m gateway.apikey NAME, of small letters, digits and _\n"


def new_key() -> tuple[str, str]:
    """A key, and the hash that goes into gateway.security.api_keys."""
    key = PREFIX + secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).hexdigest()


def main(arguments: list[str]) -> int:
    """Print a new key for the name given; 2 for anything else."""
    if arguments in (["--help"], ["-h"]):
        sys.stdout.write(USAGE)
        return 0
    if len(arguments) != 1 or not NAME.fullmatch(arguments[0]):
        sys.stderr.write(USAGE)
        return 2
    key, digest = new_key()
    sys.stdout.write(f"key, shown only now: {key}\n")
    sys.stdout.write(f"gateway.security.api_keys: - {{name: {arguments[0]}, sha256: {digest}, rate: 100/second}}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
