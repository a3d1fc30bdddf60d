"""TorchServe's tokens: read from its key file, renewed when they have expired, never shown.

TorchServe writes `key_file.json` at its start and again at each renewal: a management key and an inference key, both
with an expiry, and an API key that renews them and lasts as long as the process.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import requests

from errors import EngineError
from settings.load import ROOT
from settings.schema import Node

Kind = Literal["management", "inference"]
READ_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Keys:
    """The three keys of one TorchServe; their text is kept out of every repr and so out of logs."""

    management: str = field(repr=False)
    inference: str = field(repr=False)
    api: str = field(repr=False)

    def of(self, kind: Kind) -> str:
        """The key for one of the two APIs."""
        return self.management if kind == "management" else self.inference


def read(path: Path) -> Keys:
    """Read the key file; TorchServe does not replace it atomically, so a half-written one is read again.

    Raises EngineError when there is none or it stays unreadable.
    """
    deadline = time.monotonic() + READ_TIMEOUT_S
    while True:
        try:
            content = json.loads(path.read_text())
            return Keys(content["management"]["key"], content["inference"]["key"], content["API"]["key"])
        except FileNotFoundError:
            raise EngineError(f"no TorchServe keys in {path}; is TorchServe running? `make up` starts it") from None
        except (ValueError, KeyError, TypeError):
            if time.monotonic() > deadline:
                raise EngineError(f"{path} is not a TorchServe key file") from None
            time.sleep(0.05)


def of_node(node: Node) -> Keys:
    """The keys of one engine host: from its key file, or its one token for everything."""
    if node.key_file is None:
        token = node.token or ""
        return Keys(token, token, token)
    return read(ROOT / node.key_file)


def renew(node: Node, kind: Kind) -> Keys:
    """Have TorchServe replace an expired `management` or `inference` key; returns all keys as they are now."""
    if node.key_file is None:
        return of_node(node)
    path = ROOT / node.key_file
    try:
        answer = requests.get(
            f"{node.management_url}/token",
            params={"type": kind},
            headers={"Authorization": f"Bearer {read(path).api}"},
            timeout=10,
        )
    except requests.RequestException as error:
        raise EngineError(f"TorchServe at {node.management_url} does not renew keys: {type(error).__name__}") from None
    if not answer.ok:
        raise EngineError(f"TorchServe at {node.management_url} does not accept the keys in {path}")
    return read(path)
