"""Access key and secret key of an S3 store: from the environment, or from a file that only its owner may read."""

import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from errors import StoreError


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
    try:
        content = json.loads(path.read_text())
        return Credentials(content["access_key"], content["secret_key"])
    except FileNotFoundError:
        raise StoreError(
            f"no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write {path}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError(f"{path} is no JSON file with access_key and secret_key") from None


def make(path: Path) -> Credentials:
    """The credentials of the stack's own server: those of `path`, made up when there are none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = {"access_key": f"marina{secrets.token_hex(8)}", "secret_key": secrets.token_urlsafe(32)}
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(made, file)
    except FileExistsError:
        return read(path)
    return Credentials(**made)
