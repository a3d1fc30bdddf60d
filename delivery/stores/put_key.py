"""The key with which archives may be put into the file browser: hexadecimal, in a file that only its owner may read."""

import os
import re
import secrets
from pathlib import Path

from errors import StoreError

_KEY = re.compile(r"[0-9a-f]{32,128}")


def read(path: Path) -> str:
    """The key. Raises StoreError when there is none, or none that is long enough; its words never hold the key."""
    try:
        key = path.read_text().strip()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; `make up` makes the key, copy it from there") from None
    if not _KEY.fullmatch(key):
        raise StoreError(f"{path} holds no key: 32 to 128 of 0-9 and a-f, as from `openssl rand -hex 32`")
    return key


def make(path: Path) -> str:
    """The key of `path`, made up when there is none yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{secrets.token_hex(32)}\n")
    except FileExistsError:
        """Somebody's own key, or that of the last start."""
    return read(path)
