"""`python -m gateway.apikey NAME` makes an API key: prints it once, and the line for the configuration.

A key holds 256 random bits, so a plain SHA-256 of it is safe to keep: there is nothing to guess.
"""

import hashlib
import secrets
import sys

PREFIX = "marina_"


def new_key() -> tuple[str, str]:
    """A key, and the hash that goes into gateway.security.api_keys."""
    key = PREFIX + secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).hexdigest()


def main(arguments: list[str]) -> int:
    """Prints a new key for the name given; 2 without a name."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m gateway.apikey NAME\n")
        return 2
    key, digest = new_key()
    sys.stdout.write(f"key, shown only now: {key}\n")
    sys.stdout.write(f"gateway.security.api_keys: - {{name: {arguments[0]}, sha256: {digest}, rate: 100/second}}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
