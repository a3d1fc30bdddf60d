"""Which versions of a model may answer now: told to the gateway, which leaves out a node that has another."""

import json
from collections.abc import Collection
from pathlib import Path

from archive.workplace import forget, read_text, replace_text
from settings import Settings


class Live:
    """`live/MODEL.json` in the stack's state folder, a list of versions; replaced as a whole at every change."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, settings: Settings, model: str) -> "Live":
        """The list of one model."""
        return cls(Path(settings.paths.state) / "live" / f"{model}.json")

    def get(self) -> list[str]:
        """The versions; none when there is no list, or a damaged one, which the next rollout replaces."""
        try:
            found = json.loads(read_text(self._path) or "[]")
        except ValueError:
            return []
        return [str(version) for version in found] if isinstance(found, list) else []

    def put(self, versions: Collection[str]) -> None:
        """Replace the list; without a version, there is none."""
        if not versions:
            forget(self._path)
            return
        replace_text(self._path, json.dumps(sorted(versions)))
