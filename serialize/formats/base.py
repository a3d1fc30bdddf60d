"""What a format is."""

from pathlib import Path
from typing import Any, Protocol

from serialize.source import Source


class Format(Protocol):
    """Writes a network in one form. Frozen and without state: the registry holds one of each."""

    @property
    def name(self) -> str:
        """The word for it in `served_model.artifact`."""

    @property
    def file(self) -> str:
        """Name of its file in the archive."""

    @property
    def runtime(self) -> str:
        """The module of handlers.runtimes that runs it."""

    def export(self, source: Source, target: Path) -> dict[str, Any]:
        """Writes the network to `target` and returns what the card's `artifact` holds beside format and file.

        The same source gives the same bytes, in any process and on any machine; a format for which that cannot hold
        says so. Raises BuildError.
        """
