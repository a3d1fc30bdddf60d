"""The engine's tokens: read from its key file, renewed before they expire and when the engine refuses them.

Nothing here puts a key into a log line, an exception or a representation.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from engines.engine_profile import Interface
from engines.torchserve import api
from engines.torchserve.key_file import Keys, read_keys

_log = logging.getLogger(__name__)

# A failed renewal is not tried again at once by every request that follows.
RETRY_S = 1.0
RENEWAL_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where keys are kept and renewed: the file, the Management API's URL, and how long before expiry to renew (s).

    An engine behind something that asks for a token of its own has that as `fixed`, and no file. One whose keys stay
    as they are is never asked for others.
    """

    file: Path | None
    management_url: str
    margin_s: float
    fixed: str | None = field(default=None, repr=False)
    renews: bool = True


class KeyRing:
    """Hands out tokens that the engine accepts.

    Other programs renew the tokens too, and each renewal makes the token before it invalid; so the file is read
    again before anything is renewed.
    """

    def __init__(self, place: KeyPlace, session: aiohttp.ClientSession, clock: Callable[[], float] = time.time) -> None:
        self._place = place
        self._session = session
        self._clock = clock
        self._keys: Keys | None = None
        self._lock = asyncio.Lock()
        self._renewals: dict[Interface, asyncio.Task[None]] = {}
        self._tried: dict[Interface, float] = {}

    async def token(self, interface: Interface) -> str | None:
        """The bearer token of an interface; None when there is no key file (yet)."""
        if self._keys is None:
            await self._read_again()
        if self._keys is None:
            return self._place.fixed
        left = self._keys.token(interface).expires - self._clock()
        if self._place.renews and left < self._place.margin_s:
            renewal = self._start_renewal(interface)
            if left <= 0 and renewal is not None:
                # Waiting this way, a request that is cancelled leaves the renewal running for the others.
                await asyncio.wait({renewal})
        return self._keys.token(interface).value

    async def replaced(self, interface: Interface, refused: str | None) -> bool:
        """Whether another token than the one the engine refused is at hand now; fetches one when needed."""
        async with self._lock:
            if self._differs(interface, refused):
                return True
            await self._read_again()
            if not self._differs(interface, refused):
                await self._renew(interface)
            return self._differs(interface, refused)

    async def close(self) -> None:
        """Ends renewals that are under way."""
        running = [task for task in self._renewals.values() if not task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _differs(self, interface: Interface, refused: str | None) -> bool:
        return self._keys is not None and self._keys.token(interface).value != refused

    def _start_renewal(self, interface: Interface) -> asyncio.Task[None] | None:
        running = self._renewals.get(interface)
        if running is not None and not running.done():
            return running
        if self._clock() - self._tried.get(interface, float("-inf")) < RETRY_S:
            return None
        self._tried[interface] = self._clock()
        task = asyncio.create_task(self._renew_expiring(interface))
        self._renewals[interface] = task
        return task

    async def _renew_expiring(self, interface: Interface) -> None:
        async with self._lock:
            await self._read_again()
            if self._keys is not None and self._keys.token(interface).expires - self._clock() < self._place.margin_s:
                await self._renew(interface)

    async def _read_again(self) -> None:
        if self._place.file is not None:
            self._keys = await read_keys(self._place.file) or self._keys

    async def _renew(self, interface: Interface) -> None:
        """Asks the engine for a new token, which it writes into the file."""
        if self._keys is None or not self._place.renews:
            return
        url = self._place.management_url + api.renewal_path(interface)
        headers = {"Authorization": f"Bearer {self._keys.api}"}
        timeout = aiohttp.ClientTimeout(total=RENEWAL_TIMEOUT_S)
        try:
            async with self._session.get(url, headers=headers, timeout=timeout) as response:
                await response.read()
                _said(logging.INFO, "token_renewal", interface=interface, status=response.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            _said(logging.WARNING, "token_renewal_failed", interface=interface, reason=type(error).__name__)
        await self._read_again()


def _said(level: int, name: str, **fields: object) -> None:
    """One event and its fields, as the gateway's log writes them."""
    _log.log(level, name, extra={"fields": fields})
