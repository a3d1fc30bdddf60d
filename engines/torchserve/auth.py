"""The tokens of one engine host: read from its key file, renewed before they expire and when the engine refuses them.

TorchServe writes `key_file.json` when it starts and again at each renewal. The file holds a management key and an
inference key, both with an expiry, and an API key that renews them and lasts as long as the process. Other programs
renew the tokens too, and each renewal invalidates the token before it, so after a refusal the key file is read again
first.

No key appears in a log line, an exception or a representation.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import requests

from engines.engine_profile import EngineProfile, Interface
from engines.torchserve import api
from errors import EngineError
from logs import event
from settings.load import ROOT
from settings.schema import EngineHostSettings

log = logging.getLogger(__name__)

NAME = "key_file.json"  # in the folder where TorchServe was started

# TorchServe rewrites the file in place, so a reader can see half of it. A write takes well under a second.
READ_TIMEOUT_S = 1.0
READ_PAUSE_S = 0.02
RETRY_S = 1.0  # pause after a renewal, so that not every request repeats a failing one
RENEWAL_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and the time at which it expires, in seconds since the epoch."""

    value: str = field(repr=False)
    expires: float


@dataclass(frozen=True, slots=True)
class EngineKeys:
    """The content of one key file."""

    inference: Token
    management: Token
    api: str = field(repr=False)

    def token(self, interface: Interface) -> Token:
        """Return the token of one of the engine's interfaces."""
        return self.inference if interface == "inference" else self.management


def read_keys(path: Path, title: str) -> EngineKeys:
    """Return the keys in a file, waiting a moment for one that is being written.

    Raises EngineError when the file is missing or unreadable.
    """
    deadline = time.monotonic() + READ_TIMEOUT_S
    while True:
        try:
            return _parsed(json.loads(path.read_bytes()))
        except FileNotFoundError:
            raise EngineError(
                f"no {title} keys in {path}; is {title} running? engine.key_file names the file that it writes"
            ) from None
        except OSError as error:
            raise EngineError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            if time.monotonic() > deadline:
                raise EngineError(api.damaged_key_file(path, title)) from None
            time.sleep(READ_PAUSE_S)


def direct_session() -> requests.Session:
    """Return a session that ignores the environment's proxies and .netrc, which could replace the token."""
    session = requests.Session()
    session.trust_env = False
    return session


class KeyRing:
    """Provides the tokens of one host to any number of threads."""

    def __init__(
        self,
        host: EngineHostSettings,
        profile: EngineProfile,
        margin_s: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Renew tokens from `margin_s` before they expire, by a clock of seconds since the epoch.

        A host may have one token for both interfaces in place of a key file; that token is never renewed.
        """
        self._fixed = host.token
        self._file = ROOT / (host.key_file or NAME)
        self._title = profile.title
        self._url = host.management_url
        self._renews = profile.renews_keys
        self._margin_s = margin_s
        self._clock = clock
        self._keys: EngineKeys | None = None
        self._lock = threading.Lock()
        self._renewed: dict[Interface, float] = {}

    @property
    def source(self) -> str:
        """The source of the keys, for a message."""
        return "the settings" if self._fixed is not None else str(self._file)

    def current(self, interface: Interface) -> str | None:
        """Return the token without waiting; None when `token` has to read or renew it first.

        A token that expires soon is renewed in a thread meanwhile.
        """
        if self._fixed is not None:
            return self._fixed
        if self._keys is None:
            return None
        left = self._left(self._keys, interface)
        if left <= 0:
            return None
        if left < self._margin_s and self._may_renew(interface):
            self._renewed[interface] = self._clock()
            threading.Thread(target=self._renew_expiring, args=(interface,), name="token-renewal", daemon=True).start()
        return self._keys.token(interface).value

    def token(self, interface: Interface) -> str:
        """Return the token, read or renewed where necessary. Raises EngineError when there is none."""
        if (token := self.current(interface)) is not None:
            return token
        with self._lock:
            keys = self._keys or self._read()
            if self._left(keys, interface) <= 0 and self._may_renew(interface):
                keys = self._renew(interface)
            return keys.token(interface).value

    def replace(self, interface: Interface, refused: str | None) -> bool:
        """Return whether there is another token than the one that the engine refused, renewing it where necessary."""
        if self._fixed is not None:
            return False
        with self._lock:
            try:
                if self._differs(interface, refused):
                    return True
                self._read()
                if not self._differs(interface, refused) and self._may_renew(interface):
                    self._renew(interface)
            except EngineError as error:
                log.debug("no other token: %s", error)
            return self._differs(interface, refused)

    def reread(self) -> None:
        """Read the file again before the next use, because another program may have renewed the token."""
        self._keys = None

    def every_key(self) -> set[str]:
        """Return all keys, to search for them where they must not appear. Raises EngineError when there are none."""
        if self._fixed is not None:
            return {self._fixed}
        found = read_keys(self._file, self._title)
        return {found.management.value, found.inference.value, found.api}

    def _left(self, keys: EngineKeys, interface: Interface) -> float:
        """Return the seconds for which a token is valid; without end where the engine does not renew tokens."""
        return keys.token(interface).expires - self._clock() if self._renews else float("inf")

    def _differs(self, interface: Interface, refused: str | None) -> bool:
        return self._keys is not None and self._keys.token(interface).value != refused

    def _may_renew(self, interface: Interface) -> bool:
        return self._renews and self._clock() - self._renewed.get(interface, float("-inf")) >= RETRY_S

    def _read(self) -> EngineKeys:
        self._keys = keys = read_keys(self._file, self._title)
        return keys

    def _renew_expiring(self, interface: Interface) -> None:
        with self._lock:
            try:
                # Another program may have renewed it.
                if self._left(self._read(), interface) < self._margin_s:
                    self._renew(interface)
            except EngineError as error:
                event(log, logging.WARNING, "token_renewal_failed", interface=interface, reason=str(error))

    def _renew(self, interface: Interface) -> EngineKeys:
        """Have the engine write a new token into its key file, and read that."""
        headers = {"Authorization": f"Bearer {self._read().api}"}
        try:
            with direct_session() as session:
                url = self._url + api.renewal_path(interface)
                answer = session.get(url, headers=headers, timeout=RENEWAL_TIMEOUT_S)
            event(log, logging.INFO, "token_renewal", interface=interface, status=answer.status_code)
        except requests.RequestException as error:
            event(log, logging.WARNING, "token_renewal_failed", interface=interface, reason=type(error).__name__)
        self._renewed[interface] = self._clock()
        return self._read()


def _parsed(content: Any) -> EngineKeys:
    return EngineKeys(_token(content["inference"]), _token(content["management"]), str(content["API"]["key"]))


def _token(entry: Any) -> Token:
    # Java writes nanoseconds, Python reads at most microseconds.
    moment, _, fraction = str(entry["expiration time"]).rstrip("Z").partition(".")
    expires = datetime.fromisoformat(f"{moment}+00:00").timestamp() + float(f"0.{fraction or 0}")
    return Token(str(entry["key"]), expires)
