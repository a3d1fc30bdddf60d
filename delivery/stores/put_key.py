"""The key with which archives may be put into the file browser: hexadecimal, in a file that only its owner may read."""

import re
import secrets
from pathlib import Path

from errors import StoreError
from files import read_text, write_once

_KEY = re.compile(r"[0-9a-f]{32,128}")


def read(path: Path) -> str:
    """The key. Raises StoreError when there is none, or none that is long enough; its words never hold the key."""
    text = read_text(path)
    if text is None:
        raise StoreError(f"{path}: No such file or directory; `make up` makes the key, copy it from there")
    key = text.strip()
    if not _KEY.fullmatch(key):
        raise StoreError(f"{path} holds no key: 32 to 128 of 0-9 and a-f, as from `openssl rand -hex 32`")
    return key


def make(path: Path) -> str:
    """The key of `path`, made up when there is none yet."""
    write_once(path, f"{secrets.token_hex(32)}\n")
    return read(path)
