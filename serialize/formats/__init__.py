"""Artifact formats: one class and one file per format.

    LoadedModel ──Format.export──▶ artifact, and its entries in the model card's `artifact`

Every module in this folder whose name does not begin with `_` defines one format as `FORMAT`. A new format needs only
such a file, provided that a module of handlers.runtimes can run its artifacts.
"""

import importlib
import pkgutil
from pathlib import Path
from typing import Any, Protocol

from serialize.loaded_model import LoadedModel


class Format(Protocol):
    """A way to write a network. Frozen and without state, because the registry holds one object per format."""

    @property
    def name(self) -> str:
        """Return the value of `served_model.artifact` that selects the format."""

    @property
    def file(self) -> str:
        """Return the artifact's file name in the archive."""

    @property
    def runtime(self) -> str:
        """Return the module of handlers.runtimes that runs the artifact."""

    def export(self, loaded: LoadedModel, target: Path) -> dict[str, Any]:
        """Write the network to `target`; return the card's `artifact` entries beside format, runtime and file.

        The same model gives the same bytes in any process and on any machine. A format that cannot promise this says
        so. Raises BuildError.
        """


def _registry() -> dict[str, Format]:
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    formats: list[Format] = [importlib.import_module(f"{__name__}.{name}").FORMAT for name in modules]
    return {each.name: each for each in formats}


FORMATS: dict[str, Format] = _registry()
