"""`python -m gateway.apikey NAME` makes an API key: prints it once, and the line for the configuration.

A key holds 256 random bits, so a plain SHA-256 of it is safe to keep: there is nothing to guess.
"""

import hashlib
import hmac
import math
import re
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

import commands
from errors import RateLimited, Unauthorized
from gateway.console.asked import is_page
from gateway.http.context import Headers, header
from gateway.rate_limit import RateLimit
from settings.schema import ApiKey

PREFIX = "marina_"
NAME = re.compile(r"[a-z][a-z0-9_]*")  # as settings.schema.fields.Name
USAGE = """\
usage: python -m gateway.apikey NAME

  NAME   small letters, digits and _; prints a new key for it, and the line for the configuration
"""


def new_key() -> tuple[str, str]:
    """A key, and the hash that goes into gateway.security.api_keys."""
    key = PREFIX + secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).hexdigest()


def main(arguments: list[str]) -> int:
    """Print a new key for the name given; 2 for anything else."""
    if len(arguments) != 1 or not NAME.fullmatch(arguments[0]):
        sys.stderr.write(USAGE)
        return 2
    key, digest = new_key()
    sys.stdout.write(f"key, shown only now: {key}\n")
    sys.stdout.write(f"gateway.security.api_keys: - {{name: {arguments[0]}, sha256: {digest}, rate: 100/second}}\n")
    return 0


# What an orchestrator asks without a key, and the documentation, which says how to send one.
OPEN = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready"})


class ApiKeys:
    """The API keys: whose an offered one is, and how often each may ask.

    The processes of one gateway count in the same `folder`; without one, this process counts alone. Raises ConfigError
    when nothing can be kept there.
    """

    def __init__(self, keys: Sequence[ApiKey], folder: Path | None) -> None:
        self._keys = [(bytes.fromhex(key.sha256), key.name) for key in keys]
        self._rates = {key.name: RateLimit(key.rate, key.name, folder) for key in keys if key.rate is not None}

    def owner(self, offered: str) -> str | None:
        """The name that the key belongs to; None when nobody has it."""
        digest = hashlib.sha256(offered.encode("latin-1")).digest()
        found = None
        # All are compared, each in constant time: how long it takes tells nothing about any key.
        for known, name in self._keys:
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def admit(self, authorization: str | None, api_key: str | None) -> None:
        """Lets through who has a key and keeps to its rate. Raises Unauthorized or RateLimited.

        The key stands in the header `Authorization: Bearer KEY`, or `X-Api-Key: KEY`.
        """
        name = self._offering(authorization, api_key)
        if name is None:
            words = "send an API key as `Authorization: Bearer KEY` or `X-Api-Key: KEY`"
            raise Unauthorized(words, headers={"www-authenticate": "Bearer"})
        self.count(name)

    def knows(self, headers: Headers) -> bool:
        """Say whether a request brings a known key; its rate is not counted."""
        return self._offering(header(headers, b"authorization"), header(headers, b"x-api-key")) is not None

    def _offering(self, authorization: str | None, api_key: str | None) -> str | None:
        bearer = authorization is not None and authorization[:7].lower() == "bearer "
        offered = authorization[7:].strip() if authorization is not None and bearer else api_key
        return None if offered is None else self.owner(offered)

    def count(self, name: str) -> None:
        """Counts one request of this owner. Raises RateLimited when it is one too many."""
        rate = self._rates.get(name)
        if rate is None or (wait_s := rate.wait_s()) == 0.0:
            return
        after = str(math.ceil(wait_s))
        raise RateLimited(f"this key may ask {rate}", headers={"retry-after": after})


class ApiKeyMiddleware:
    """Asks for an API key, and counts how often each one asks."""

    def __init__(self, app: ASGIApp, keys: ApiKeys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets through who has a key and keeps to its rate. Raises Unauthorized or RateLimited."""
        if scope["type"] == "http" and not _is_open(scope):
            headers = scope["headers"]
            self._keys.admit(header(headers, b"authorization"), header(headers, b"x-api-key"))
        await self._app(scope, receive, send)


def _is_open(scope: Scope) -> bool:
    path: str = scope["path"]
    return path in OPEN or path.startswith("/docs/") or is_page(scope)


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
