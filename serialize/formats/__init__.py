"""Artifact formats: one class a format, one file a format.

    Source ──Format.export──▶ file, and what the model card's `artifact` says of it

Every module here whose name does not begin with `_` holds one format as `FORMAT`; putting a file here is all that a new
one needs, as long as a module of handlers.runtimes can run what it writes.
"""

import importlib
import pkgutil

from serialize.formats.base import Format


def _found() -> dict[str, Format]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [name for name in names if name != "base" and not name.startswith("_")]
    formats: list[Format] = [importlib.import_module(f"{__name__}.{name}").FORMAT for name in modules]
    return {each.name: each for each in formats}


FORMATS: dict[str, Format] = _found()

__all__ = ["FORMATS", "Format"]
