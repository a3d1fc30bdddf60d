"""API keys: who asks, and how often each may ask."""

import hashlib
import hmac
import math
import time
from collections.abc import Sequence

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.types import ASGIApp, Receive, Scope, Send

from errors import RateLimited, Unauthorized
from gateway.exchange import Headers, header
from settings.schema import ApiKey

# What an orchestrator asks without a key, and the documentation, which says how to send one.
OPEN = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})


class Keys:
    """The API keys: whose an offered one is, and how often each may ask."""

    def __init__(self, keys: Sequence[ApiKey], processes: int) -> None:
        self._keys = [(bytes.fromhex(key.sha256), key.name) for key in keys]
        self._rates = {key.name: _per_process(parse(key.rate), processes) for key in keys if key.rate is not None}
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    def owner(self, offered: str) -> str | None:
        """The name that the key belongs to; None when nobody has it."""
        digest = hashlib.sha256(offered.encode("latin-1")).digest()
        found = None
        # All are compared, each in constant time: how long it takes tells nothing about any key.
        for known, name in self._keys:
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def count(self, name: str) -> None:
        """Counts one request of this owner. Raises RateLimited when it is one too many."""
        rate = self._rates.get(name)
        if rate is None or self._limiter.hit(rate, name):
            return
        reset = self._limiter.get_window_stats(rate, name).reset_time
        after = str(max(1, math.ceil(reset - time.time())))
        raise RateLimited(f"this key may ask {rate}", headers={"retry-after": after})


class KeyGuard:
    """Asks for an API key, and counts how often each one asks."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets through who has a key and keeps to its rate. Raises Unauthorized or RateLimited."""
        if scope["type"] == "http" and scope["path"] not in OPEN:
            offered = _offered(scope["headers"])
            name = None if offered is None else self._keys.owner(offered)
            if name is None:
                words = "send an API key as `Authorization: Bearer KEY` or `X-Api-Key: KEY`"
                raise Unauthorized(words, headers={"www-authenticate": "Bearer"})
            self._keys.count(name)
        await self._app(scope, receive, send)


def _offered(headers: Headers) -> str | None:
    authorization = header(headers, b"authorization")
    if authorization is not None and authorization[:7].lower() == "bearer ":
        return authorization[7:].strip()
    return header(headers, b"x-api-key")


def _per_process(rate: RateLimitItem, processes: int) -> RateLimitItem:
    return type(rate)(max(1, rate.amount // processes), rate.multiples)
