"""Bearer tokens that any process with the secret can check: a kind, an expiry, and an HMAC of both.

TorchServe keeps its keys in one process. Here Frontends on several machines check them, so a token states its purpose
and its expiry. Renewing a token does not invalidate the one before.
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
class TokenSigner:
    """Issues and checks tokens; no representation shows the secret."""

    secret: bytes = field(repr=False)

    def issue(self, kind: Kind, expires: int = FOREVER) -> str:
        """Return a token for one interface until `expires`, in seconds since 1970."""
        claim = f"{kind}.{expires}.{secrets.token_hex(8)}"
        return f"{claim}.{self._signature(claim)}"

    def accepts(self, kind: Kind, token: str, now: float) -> bool:
        """Return whether a token opens an interface, comparing its signature in constant time."""
        claim, _, signature = token.rpartition(".")
        found, _, rest = claim.partition(".")
        expires = rest.partition(".")[0]
        if found != kind or not (expires.isascii() and expires.isdigit()):
            return False
        if not hmac.compare_digest(signature.encode(), self._signature(claim).encode()):
            return False
        return int(expires) == FOREVER or now < int(expires)

    def _signature(self, claim: str) -> str:
        return hmac.new(self.secret, claim.encode(), hashlib.sha256).hexdigest()


def bearer(header: str) -> str:
    """Return the token of an Authorization header, "" where there is none."""
    scheme, _, token = header.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class KeyFile:
    """`key_file.json` as TorchServe writes it: a management key, an inference key and the API key that renews them."""

    def __init__(self, path: Path, signer: TokenSigner, life_s: int) -> None:
        self._path = path
        self._signer = signer
        self._life_s = life_s
        self._content: dict[str, dict[str, str]] = {"API": {"key": signer.issue("API")}}

    def renew(self, kinds: tuple[Kind, ...], now: float) -> None:
        """Replace the tokens of these interfaces and write the file, for its owner alone."""
        expires = int(now) + self._life_s
        moment = datetime.fromtimestamp(expires, UTC).isoformat().replace("+00:00", "Z")
        for kind in kinds:
            self._content[kind] = {"key": self._signer.issue(kind, expires), "expiration time": moment}
        write_atomic(self._path, json.dumps(self._content, indent=2), 0o600)


def own_secret(path: Path) -> bytes:
    """Return the secret in `path`, written where there is none, so that a restart accepts the tokens before it.

    When several processes write it at once, all of them read the secret of one.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_once(path, secrets.token_hex(32))
    return bytes.fromhex(path.read_text())
