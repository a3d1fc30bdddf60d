"""What every store can do, and the atomic write that those with a folder share."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from archive.manifest import NAME as MODEL
from archive.manifest import VERSION
from errors import StoreError
from files import explained, remove_durably, replace_durably, staging_folder, staging_path

NAME = re.compile(rf"{MODEL.pattern}(-{VERSION.pattern})?\.mar")
VERSIONED = re.compile(rf"{MODEL.pattern}-{VERSION.pattern}\.mar")


class Store(Protocol):
    """Archives by file name. A published name never changes its content."""

    def put(self, source: Path, name: str) -> None:
        """Store a file under `name`, whole or not at all."""

    def url(self, name: str) -> str:
        """What the engine is told to fetch `name` from."""

    def path(self, name: str) -> Path | None:
        """The stored file for reading, or None when there is none of that name."""

    def versions(self, model: str) -> set[str]:
        """The versions under which a model's archives are stored."""

    def remove(self, name: str) -> None:
        """Forget an archive; unknown is fine."""


def file_name(model: str, version: str) -> str:
    """The published name: with its version, because TorchServe refuses a second archive of the same name."""
    return f"{model}-{version}.mar"


def check_name(name: str) -> None:
    """Raise StoreError for a name that is no archive's."""
    if not NAME.fullmatch(name):
        raise StoreError(f"{name!r} is no archive name; NAME.mar or NAME-VERSION.mar is (a-z, 0-9, _ and the version)")


def put_into_folder(source: Path, folder: Path, name: str) -> None:
    """Copy `source` to `folder/name` so that a reader sees the old file, the new one, or none, and never a half.

    Raises StoreError for a name that is no archive's, and when the folder cannot be written (a full disk, say).
    """
    check_name(name)
    # A hidden folder of a fixed name: neither listed nor served, and cleared when a killed run left it.
    with explained(folder / name), staging_folder(folder, name) as work:
        draft = work / name
        shutil.copyfile(source, draft)
        draft.chmod(0o644)
        replace_durably(draft, folder / name)


def remove_from_folder(folder: Path, name: str) -> None:
    """Delete `folder/name`, and what a killed run left of it; unknown is fine. Raises StoreError when it stays."""
    remove_durably(folder / name)
    with explained(folder / name):
        if staging_path(folder, name).exists():
            with staging_folder(folder, name):
                """Entering clears it, leaving removes it."""


def file_in(folder: Path, name: str) -> Path | None:
    """The file `folder/name`, or None. Raises StoreError when the folder cannot be read."""
    path = folder / name
    with explained(path):
        return path if path.is_file() else None


def versions_in(names: Iterable[str], model: str) -> set[str]:
    """The versions of a model among the names of published archives."""
    named = re.compile(rf"{re.escape(model)}-({VERSION.pattern})\.mar")
    return {found[1] for name in names if (found := named.fullmatch(name))}


def published_in(folder: Path, model: str) -> set[str]:
    """The versions of a model whose archives lie in a folder. Raises StoreError when it cannot be read."""
    with explained(folder):
        return versions_in((path.name for path in folder.glob(f"{model}-*.mar")), model)
