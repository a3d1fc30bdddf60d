"""Bearer tokens that whoever has the secret can check by itself: a kind, an expiry, and an HMAC over both.

TorchServe keeps its keys in one process. Here every Front checks them, on whichever machine it runs, so a token says
what it is for and how long; renewing one does not end the one before.
"""

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from files import write_atomic, write_once

Kind = Literal["management", "inference", "API"]
FOREVER = 0


@dataclass(frozen=True)
class Tokens:
    """Makes and checks tokens; the secret stays out of every repr."""

    secret: bytes = field(repr=False)

    def issue(self, kind: Kind, expires: int = FOREVER) -> str:
        """A token for one interface until `expires`, in seconds since 1970."""
        said = f"{kind}.{expires}.{secrets.token_hex(8)}"
        return f"{said}.{self._seal(said)}"

    def accepts(self, kind: Kind, token: str, now: float) -> bool:
        """Whether a token opens an interface; in constant time where it matters."""
        said, _, seal = token.rpartition(".")
        found, _, rest = said.partition(".")
        expires = rest.partition(".")[0]
        if found != kind or not (expires.isascii() and expires.isdigit()):
            return False
        if not hmac.compare_digest(seal.encode(), self._seal(said).encode()):
            return False
        return int(expires) == FOREVER or now < int(expires)

    def _seal(self, said: str) -> str:
        return hmac.new(self.secret, said.encode(), hashlib.sha256).hexdigest()


def bearer(header: str) -> str:
    """The token of an Authorization header; "" where there is none."""
    scheme, _, token = header.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class KeyFile:
    """`key_file.json` as TorchServe writes it: a management key, an inference key and the API key that renews them."""

    def __init__(self, path: Path, tokens: Tokens, life_s: int) -> None:
        self._path = path
        self._tokens = tokens
        self._life_s = life_s
        self._content: dict[str, dict[str, str]] = {"API": {"key": tokens.issue("API")}}

    def renew(self, kinds: tuple[Kind, ...], now: float) -> None:
        """Replace the tokens of these interfaces and write the file, whole and for its owner alone."""
        expires = int(now) + self._life_s
        moment = datetime.fromtimestamp(expires, UTC).isoformat().replace("+00:00", "Z")
        for kind in kinds:
            self._content[kind] = {"key": self._tokens.issue(kind, expires), "expiration time": moment}
        write_atomic(self._path, json.dumps(self._content, indent=2), 0o600)


def own_secret(path: Path) -> bytes:
    """The secret in `path`, made when there is none: a manager that is started anew accepts the tokens before it.

    Of several that make it at once, one does, and all read that one's.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_once(path, secrets.token_hex(32))
    return bytes.fromhex(path.read_text())
