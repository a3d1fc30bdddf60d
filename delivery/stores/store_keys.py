"""The keys of the stores: the upload key of the file browser, and the credentials of S3.

Each is in a file that only its owner may read. No error text contains one.
"""

import json
import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from errors import StoreError
from files import read_text, write_once

_UPLOAD_KEY = re.compile(r"[0-9a-f]{32,128}")


def read_upload_key(path: Path) -> str:
    """Return the key with which programs upload archives. Raises StoreError when it is missing or too short."""
    text = read_text(path)
    if text is None:
        raise StoreError(f"{path}: No such file or directory; `make up` makes the key, copy it from there")
    key = text.strip()
    if not _UPLOAD_KEY.fullmatch(key):
        raise StoreError(f"{path} holds no key: 32 to 128 of 0-9 and a-f, as from `openssl rand -hex 32`")
    return key


def make_upload_key(path: Path) -> str:
    """Return the upload key in `path`; generate it when there is none."""
    write_once(path, f"{secrets.token_hex(32)}\n")
    return read_upload_key(path)


@dataclass(frozen=True)
class S3Credentials:
    """A key pair; its repr, and so the logs, leave the secret out."""

    access_key: str
    secret_key: str = field(repr=False)


def read_s3_credentials(path: Path) -> S3Credentials:
    """Return the credentials of the environment, or of a file. Raises StoreError when there are none."""
    access, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if access and secret:
        return S3Credentials(access, secret)
    text = read_text(path)
    if text is None:
        raise StoreError(f"no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write {path}")
    try:
        content = json.loads(text)
        return S3Credentials(content["access_key"], content["secret_key"])
    except (ValueError, KeyError, TypeError):
        raise StoreError(f"{path} is not a JSON file with access_key and secret_key") from None


def make_s3_credentials(path: Path) -> S3Credentials:
    """Return the credentials in `path` for the stack's own server; generate them when there are none."""
    made = {"access_key": f"marina{secrets.token_hex(8)}", "secret_key": secrets.token_urlsafe(32)}
    return S3Credentials(**made) if write_once(path, json.dumps(made)) else read_s3_credentials(path)
