"""TorchServe's key file: the tokens of its interfaces and the key that renews them.

TorchServe writes `key_file.json` at its start and again at each renewal: a management key and an inference key, both
with an expiry, and an API key that renews them and lasts as long as the process.
"""

import asyncio
import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from engines.engine_profile import Interface

NAME = "key_file.json"  # in the folder where TorchServe was started

# TorchServe rewrites the file in place, so a reader can meet half of it; a write takes well under these 0.2 s.
ATTEMPTS = 10
PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Token:
    """What the engine wants to see as bearer token, and until when it does (seconds since the epoch)."""

    value: str = field(repr=False)
    expires: float


@dataclass(frozen=True, slots=True)
class Keys:
    """The content of one key file; no repr and so no log shows a key."""

    inference: Token
    management: Token
    api: str = field(repr=False)

    def token(self, interface: Interface) -> Token:
        """The token of one of the engine's interfaces."""
        return self.inference if interface == "inference" else self.management


async def read_keys(path: Path) -> Keys | None:
    """The keys that stand in the file now; None when there is no file or it stays unreadable."""
    for _ in range(ATTEMPTS):
        try:
            return read_once(path)
        except FileNotFoundError:
            return None
        except (OSError, KeyError, TypeError, ValueError):
            await asyncio.sleep(PAUSE_S)
    return None


def read_once(path: Path) -> Keys:
    """The same without a second look. Raises OSError, KeyError, TypeError or ValueError for what is no key file."""
    # A few hundred bytes from a local disk: shorter than handing it to a thread.
    content = json.loads(path.read_bytes())
    return Keys(_token(content["inference"]), _token(content["management"]), str(content["API"]["key"]))


def _token(entry: Any) -> Token:
    # Java writes nanoseconds, Python reads at most microseconds.
    moment, _, fraction = str(entry["expiration time"]).rstrip("Z").partition(".")
    expires = datetime.fromisoformat(f"{moment}+00:00").timestamp() + float(f"0.{fraction or 0}")
    return Token(str(entry["key"]), expires)
