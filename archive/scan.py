"""Looks at the code of a checked archive without running it: does it parse, and is the entry a handler's."""

import ast
import zipfile

from archive.model import Archive
from errors import ArchiveError

SOURCE = 1024 * 1024  # bytes of one source file; the largest hand-written ones stay far below


def scan(archive: Archive) -> Archive:
    """The archive itself, its code looked at.

    Raises ArchiveError when a source file does not parse, when the entry does not define exactly one class, or when
    there are no golden answers to hold the version to.
    """
    try:
        _scan(archive)
    except ArchiveError as error:
        raise ArchiveError(f"{archive.path}: {error}") from None
    return archive


def _scan(archive: Archive) -> None:
    entry = archive.manifest["model"]["handler"]
    if not entry.endswith(".py"):
        raise ArchiveError(f"its handler {entry!r} is no Python file")
    with zipfile.ZipFile(archive.path) as source:
        for file in archive.files:
            if file.name.endswith(".py"):
                tree = _parsed(source, file.name, file.size)
                if file.name == entry:
                    _check_entry(tree, entry)
    if not archive.golden.get("samples"):
        raise ArchiveError("golden.json holds no sample")


def _parsed(source: zipfile.ZipFile, name: str, size: int) -> ast.Module:
    if size > SOURCE:
        raise ArchiveError(f"{name} is larger than {SOURCE} bytes")
    try:
        return ast.parse(source.read(name), name)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise ArchiveError(f"{name} is not Python{where}: {getattr(error, 'msg', error)}") from None


def _check_entry(tree: ast.Module, entry: str) -> None:
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    if len(classes) != 1:
        found = ", ".join(classes) or "none"
        raise ArchiveError(f"its handler {entry} must define one class, it defines {found}")
