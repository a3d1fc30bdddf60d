"""Access key and secret key of an S3 store: from the environment, or from a file that only its owner may read."""

import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from errors import StoreError
from files import read_text, write_once


@dataclass(frozen=True)
class Credentials:
    """A key pair; the secret is kept out of every repr and so out of logs."""

    access_key: str
    secret_key: str = field(repr=False)


def read(path: Path) -> Credentials:
    """The credentials. Raises StoreError when there are none."""
    access, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if access and secret:
        return Credentials(access, secret)
    text = read_text(path)
    if text is None:
        raise StoreError(f"no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write {path}")
    try:
        content = json.loads(text)
        return Credentials(content["access_key"], content["secret_key"])
    except (ValueError, KeyError, TypeError):
        raise StoreError(f"{path} is no JSON file with access_key and secret_key") from None


def make(path: Path) -> Credentials:
    """The credentials of the stack's own server: those of `path`, made up when there are none."""
    made = {"access_key": f"marina{secrets.token_hex(8)}", "secret_key": secrets.token_urlsafe(32)}
    return Credentials(**made) if write_once(path, json.dumps(made)) else read(path)
