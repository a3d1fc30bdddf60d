"""Looks at the code of a checked archive without running it: does it parse, and is the entry a handler's."""

import ast

from archive.container import naming
from archive.model import Archive, Entry
from errors import ArchiveError

SOURCE = 1024 * 1024  # bytes of one source file; the largest hand-written ones stay far below


def scan(archive: Archive) -> Archive:
    """The archive itself, its code looked at.

    Raises ArchiveError when a source file does not parse, or when the entry does not define exactly one class.
    """
    with naming(archive.path):
        _scan(archive)
    return archive


def _scan(archive: Archive) -> None:
    entry = archive.manifest["model"]["handler"]
    if not entry.endswith(".py"):
        raise ArchiveError(f"its handler {entry!r} is no Python file")
    for file in archive.files:
        if file.name.endswith(".py"):
            tree = _parsed(archive, file)
            if file.name == entry:
                _check_entry(tree, entry)


def _parsed(archive: Archive, file: Entry) -> ast.Module:
    name = file.name
    if file.size > SOURCE:
        raise ArchiveError(f"{name} is larger than {SOURCE} bytes")
    try:
        return ast.parse(archive.read(name), name)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise ArchiveError(f"{name} is not Python{where}: {getattr(error, 'msg', error)}") from None


def _check_entry(tree: ast.Module, entry: str) -> None:
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    if len(classes) != 1:
        found = ", ".join(classes) or "none"
        raise ArchiveError(f"its handler {entry} must define one class, it defines {found}")
