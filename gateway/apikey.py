"""API keys: who may send requests, and how many; `python -m gateway.apikey NAME` makes one.

The command prints the key once, and the line for the configuration. A key holds 256 random bits, so its plain SHA-256
is safe to keep, because the key cannot be guessed.
"""

import hashlib
import hmac
import math
import re
import secrets
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from starlette.types import Scope

import commands
from errors import RateLimited, Unauthorized
from gateway.console.page_files import is_page_request
from gateway.http.context import Headers, header
from gateway.rate_limit import RateLimit
from settings.schema import ApiKey

# Orchestrators probe these without a key; the documentation is open because it explains how to send one.
OPEN = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready"})

PREFIX = "marina_"
NAME = re.compile(r"[a-z][a-z0-9_]*")  # the same as the settings' Name
USAGE = """\
usage: python -m gateway.apikey NAME

  NAME   small letters, digits and _; prints a new key for it, and the line for the configuration
"""


class ApiKeys:
    """The API keys: the owner of each, and how many requests each may send.

    The processes of one gateway count in the same `folder`; without one, this process counts alone. Raises ConfigError
    when nothing can be kept there. `probes` are further paths that need no key.
    """

    def __init__(self, keys: Sequence[ApiKey], folder: Path | None, probes: Collection[str] = ()) -> None:
        self._open = OPEN.union(probes)
        self._keys = [(bytes.fromhex(key.sha256), key.name) for key in keys]
        self._rates = {key.name: RateLimit(key.rate, key.name, folder) for key in keys if key.rate is not None}

    def check(self, scope: Scope) -> None:
        """Raise Unauthorized for a request without a valid key, and RateLimited for a key that exceeds its rate."""
        path: str = scope["path"]
        if not (path in self._open or path.startswith("/docs/") or is_page_request(scope)):
            headers = scope["headers"]
            self.admit(header(headers, b"authorization"), header(headers, b"x-api-key"))

    def admit(self, authorization: str | None, api_key: str | None) -> None:
        """Count a request with these headers: `Authorization: Bearer KEY`, or `X-Api-Key: KEY`.

        Raises Unauthorized without a known key, and RateLimited when the key exceeds its rate.
        """
        name = self._offered(authorization, api_key)
        if name is None:
            words = "send an API key as `Authorization: Bearer KEY` or `X-Api-Key: KEY`"
            raise Unauthorized(words, headers={"www-authenticate": "Bearer"})
        self.count(name)

    def knows(self, headers: Headers) -> bool:
        """Return True when a request has a known key; its rate is not counted."""
        return self._offered(header(headers, b"authorization"), header(headers, b"x-api-key")) is not None

    def owner(self, offered: str) -> str | None:
        """Return the name of the key's owner; None for an unknown key."""
        digest = hashlib.sha256(offered.encode("latin-1")).digest()
        found = None
        # Compare every key, each in constant time, so that timing reveals nothing about any of them.
        for known, name in self._keys:
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def count(self, name: str) -> None:
        """Count one request of this owner. Raises RateLimited when the owner exceeds the key's rate."""
        rate = self._rates.get(name)
        if rate is None or (wait_s := rate.wait_s()) == 0.0:
            return
        after = str(math.ceil(wait_s))
        raise RateLimited(f"this key may send {rate}", headers={"retry-after": after})

    def _offered(self, authorization: str | None, api_key: str | None) -> str | None:
        bearer = authorization is not None and authorization[:7].lower() == "bearer "
        offered = authorization[7:].strip() if authorization is not None and bearer else api_key
        return None if offered is None else self.owner(offered)


def new_key() -> tuple[str, str]:
    """Return a new key, and its hash for gateway.security.api_keys."""
    key = PREFIX + secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).hexdigest()


def main(arguments: list[str]) -> int:
    """Print a new key for the given name; return 2 for other arguments."""
    if len(arguments) != 1 or not NAME.fullmatch(arguments[0]):
        sys.stderr.write(USAGE)
        return 2
    key, digest = new_key()
    sys.stdout.write(f"key, shown only now: {key}\n")
    sys.stdout.write(f"gateway.security.api_keys: - {{name: {arguments[0]}, sha256: {digest}, rate: 100/second}}\n")
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
