"""The interface of a store, and the names of archives in it."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from archive.manifest import NAME as MODEL
from archive.manifest import VERSION
from errors import StoreError

NAME = re.compile(rf"{MODEL.pattern}(-{VERSION.pattern})?\.mar")
VERSIONED = re.compile(rf"{MODEL.pattern}-{VERSION.pattern}\.mar")


class Store(Protocol):
    """Archives by file name. The content of a published name never changes."""

    def put(self, source: Path, name: str) -> None:
        """Store a file under `name`, whole or not at all."""

    def url(self, name: str) -> str:
        """Return the address from which the engine fetches `name`."""

    def path(self, name: str) -> Path | None:
        """Return the stored file for reading, or None for an unknown name."""

    def versions(self, model: str) -> set[str]:
        """Return the versions of a model whose archives are stored."""

    def remove(self, name: str) -> None:
        """Remove an archive; an unknown name is fine."""


def archive_file_name(model: str, version: str) -> str:
    """Return the published name. It contains the version, because TorchServe refuses a second archive of one name."""
    return f"{model}-{version}.mar"


def check_name(name: str) -> None:
    """Raise StoreError for a name that no archive can have."""
    if not NAME.fullmatch(name):
        raise StoreError(
            f"{name!r} is not NAME.mar or NAME-VERSION.mar, the names of archives (a-z, 0-9, _ and the version)"
        )


def versions_in(names: Iterable[str], model: str) -> set[str]:
    """Return the versions of a model among the names of published archives."""
    named = re.compile(rf"{re.escape(model)}-({VERSION.pattern})\.mar")
    return {found[1] for name in names if (found := named.fullmatch(name))}
