"""Version numbers: the archive's own when it is higher than any before, otherwise the next; none is given out twice.

`versions.json` in the stack's state folder lists every version that was ever published of a model, with the sha256 of
its archive. It stays when the archive is pruned, the model removed or the engine started anew. Should it be lost, the
names in the store, the record of what serves and the engine tell of most; where they do not, a number may come again.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from delivery.stores import Store
from deployments.serving import ServingRecord
from engines.engine_profile import ModelVersion
from errors import StoreError
from files import read_text, replacing
from settings import Settings


class Versions:
    """The versions of one stack's models; replaced as a whole at every change."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, settings: Settings) -> "Versions":
        """Those in the stack's state folder."""
        return cls(Path(settings.paths.state) / "versions.json")

    def get(self, model: str) -> dict[str, str]:
        """Every version of a model, and the sha256 of its published archive. Raises StoreError for a damaged file."""
        return self._all().get(model, {})

    def put(self, model: str, version: str, sha256: str) -> None:
        """Enter a version, before it is published. Raises StoreError when that cannot be done."""
        with replacing(self._path) as replace:
            entries = self._all()
            entries.setdefault(model, {})[version] = sha256
            replace(json.dumps(entries, indent=2))

    def _all(self) -> dict[str, dict[str, str]]:
        try:
            text = read_text(self._path)
            content: dict[str, Any] = {} if text is None else json.loads(text)
            return {model: {str(key): str(value) for key, value in found.items()} for model, found in content.items()}
        except (ValueError, AttributeError):
            raise StoreError(
                f"{self._path} is damaged; restore it from a backup, or delete it: numbers whose archives are gone may"
                " then come again"
            ) from None


def used(model: str, registered: Collection[str], store: Store, settings: Settings) -> set[str]:
    """Every version of a model that is known of; `registered` are the engine's."""
    history = ServingRecord.of(settings).get(model)
    recorded = {served.version for served in history.versions} if history else set()
    return {*registered, *store.versions(model), *recorded, *Versions.of(settings).get(model)}


def next_version(wanted: str, taken: Collection[str]) -> str:
    """`wanted` when it is higher than all of its line that are taken, else the next: 1.0, 1.1, 1.2, ..."""
    line, number = _parts(wanted)
    highest = max((last for head, last in map(_parts, taken) if head == line), default=-1)
    return wanted if number > highest else ".".join([*line, str(highest + 1)])


def names(versions: Collection[ModelVersion]) -> set[str]:
    """The version numbers of registered versions."""
    return {version.version for version in versions}


def _parts(version: str) -> tuple[tuple[str, ...], int]:
    """What stands before the last dot, and the number after it."""
    *line, last = version.split(".")
    return tuple(line), int(last)
