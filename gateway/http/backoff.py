"""Clients that repeatedly return before Retry-After has passed: the gateway delays reading their next request.

    refusal ──▶ EarlyReturns.refused     next request, too early ──▶ EarlyReturns.hold_s ──▶ HeldRequest

The first refusals in a row are immediate. After them, the gateway reads the connection only when Retry-After has
passed, and later after each further refusal for lack of capacity. A model that comes back finds its clients at once.
"""

import asyncio
from collections.abc import Callable

from gateway.http.context import Headers, header

# Refusals in a row on one connection: some clients retry at once before they heed Retry-After.
QUICK_REFUSALS = 2
# The longest delay, however often a client returns.
LONGEST_HOLD_S = 10.0
# A proxy's connection carries requests of many clients, which do not know of each other's refusals.
PROXIED = frozenset({b"x-forwarded-for", b"forwarded", b"via"})


class EarlyReturns:
    """The refusals of one connection."""

    __slots__ = ("_not_before", "_refusals", "_request_line")

    def __init__(self) -> None:
        self._refusals = 0
        self._not_before = 0.0
        self._request_line = b""

    def refused(self, method: bytes, url: bytes, after_s: float, now: float, *, grows: bool) -> None:
        """Note that this request was refused at `now`, with Retry-After of `after_s` seconds.

        The delay `grows` with further refusals, or is no longer than Retry-After.
        """
        if grows or self._refusals < QUICK_REFUSALS:
            self._refusals += 1
        self._not_before = now + after_s
        self._request_line = b"%b %b " % (method, url)

    def hold_s(self, data: bytes, now: float) -> float:
        """Return the seconds to delay the request that begins with `data`; 0.0 to read it at once."""
        if now >= self._not_before:
            self._refusals = 0
            return 0.0
        if self._refusals < QUICK_REFUSALS or not data.startswith(self._request_line):
            return 0.0
        times = self._refusals - QUICK_REFUSALS + 1
        return min((self._not_before - now) * times, LONGEST_HOLD_S)


class HeldRequest:
    """The beginning of a request that stays unread for a while; `read` gets it afterwards."""

    __slots__ = ("_data", "_read", "_timer")

    def __init__(
        self, data: bytes, seconds: float, read: Callable[[bytes], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._data = data
        self._read = read
        self._timer = loop.call_later(seconds, self.release)

    def release(self) -> None:
        """Pass the held bytes to `read` now."""
        self._timer.cancel()
        self._read(self._data)

    def drop(self) -> None:
        """Forget it, because the connection is closed."""
        self._timer.cancel()


def retry_after_s(status: int, request_headers: Headers, headers: Headers) -> float | None:
    """Return the seconds of a refusal's Retry-After; None for other responses, and for a proxy's connection."""
    if status not in (429, 503) or any(name in PROXIED for name, _ in request_headers):
        return None
    after = header(headers, b"retry-after")
    return float(after) if after is not None and after.isdigit() else None
