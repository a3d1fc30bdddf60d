"""What every store can do, and the atomic write that those with a folder share."""

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Protocol

from errors import StoreError

NAME = re.compile(r"[a-z][a-z0-9_]*-[0-9]+(\.[0-9]+)*\.mar|[a-z][a-z0-9_]*\.mar")


class Store(Protocol):
    """Archives by file name. A published name never changes its content."""

    def put(self, source: Path, name: str) -> None:
        """Store a file under `name`, whole or not at all."""

    def url(self, name: str) -> str:
        """What TorchServe is told to fetch `name` from."""

    def path(self, name: str) -> Path | None:
        """The stored file for reading, or None when there is none of that name."""

    def remove(self, name: str) -> None:
        """Forget an archive; unknown is fine."""


def file_name(model: str, version: str) -> str:
    """The published name: with its version, because TorchServe refuses a second archive of the same name."""
    return f"{model}-{version}.mar"


def put_into_folder(source: Path, folder: Path, name: str) -> None:
    """Copy `source` to `folder/name` so that a reader sees the old file, the new one, or none, and never a half.

    Raises StoreError for a name that is no archive's, and when the folder cannot be written (a full disk, say).
    """
    if not NAME.fullmatch(name):
        raise StoreError(f"{name!r} is no archive name; NAME.mar or NAME-VERSION.mar is (a-z, 0-9, _ and the version)")
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A name with a dot in front is neither listed nor served by the file browser.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{name}.", delete=False) as target:
            temporary = Path(target.name)
            with source.open("rb") as reader:
                shutil.copyfileobj(reader, target)
            target.flush()
            os.fsync(target.fileno())
        temporary.chmod(0o644)
        temporary.replace(folder / name)
    except OSError as error:
        raise StoreError(f"{folder / name}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
