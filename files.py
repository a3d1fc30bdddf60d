"""Durable files: a reader, or a power cut, sees the old content of a file or the new one, whole.

    write_atomic      replace the content of a file
    write_once        write a secret that only its owner may read; never overwrite one
    replacing         hold a file for one read and one write
    staging_folder ─▶ replace_durably    build a file beside its final path, then move it there
    remove_durably    remove a file
    file_lock         one process at a time

Each write is synced to the disk together with its folder. Errors of the file system become a StoreError of one line.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from errors import StoreError

_FULL = "free some space on its disk, then run the command again"
_DENIED = "let this user read and write there"
_IN_THE_WAY = "a file or folder of another kind has this name; move it away"
_REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "raise the limit on the size of files (`ulimit -f`), then run the command again",
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: "mount its disk for writing, or name another folder",
    errno.EISDIR: _IN_THE_WAY,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.ENOTEMPTY: _IN_THE_WAY,
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError about `path` into a StoreError of one line.

    The line names the file, or the folder on the path to it that is at fault, the reason and the remedy.
    """
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        line = f"{_at_fault(path, error)}: {error.strerror or error}{f'; {remedy}' if remedy else ''}"
        raise StoreError(line) from None


def _at_fault(path: Path, error: OSError) -> Path:
    """Return the path that the error names; for a draft, return the final file, whose name the user knows."""
    named = error.filename2 or error.filename
    found = Path(named) if isinstance(named, str) else path
    if _REMEDIES.get(error.errno or 0) == _IN_THE_WAY:
        parents = (part for part in reversed((found, *found.parents)) if part.exists() and not part.is_dir())
        return next(parents, found)
    return path if staging_path(path.parent, path.name).name in found.parts else found


def read_text(path: Path) -> str | None:
    """Return a file's text, or None when there is no such file. Raises StoreError."""
    with explained(path):
        try:
            return path.read_text()
        except FileNotFoundError:
            return None


def write_atomic(path: Path, content: str | bytes, mode: int | None = None) -> None:
    """Replace a file's content, atomically and durably; `mode` sets its permissions. Raises StoreError."""
    with replacing(path, mode) as replace:
        replace(content)


@contextmanager
def replacing(path: Path, mode: int | None = None) -> Iterator[Callable[[str | bytes], None]]:
    """Hold a file for one change, and yield the function that replaces its content.

    Other processes that change the same file wait. Raises StoreError; the file is then as it was.
    """
    with explained(path), staging_folder(path.parent, path.name) as staging:

        def replace(content: str | bytes) -> None:
            replace_durably(_draft(staging / path.name, content, mode), path)

        yield replace


def write_once(path: Path, content: str | bytes, mode: int = 0o600) -> bool:
    """Write a file that only its owner may read, unless `mode` says more.

    Returns False, and leaves the file as it is, when there is one already. Raises StoreError.
    """
    with explained(path):
        if path.exists():
            return False
        with staging_folder(path.parent, path.name) as staging:
            draft = _draft(staging / path.name, content, mode)
            _sync(draft)
            try:
                os.link(draft, path)  # unlike a rename, a link never replaces what another process has just written
            except FileExistsError:
                return False
        _sync(path.parent)
    return True


def _draft(path: Path, content: str | bytes, mode: int | None) -> Path:
    path.touch(0o666 if mode is None else mode)
    if mode is not None:
        path.chmod(mode)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def remove_durably(path: Path) -> None:
    """Remove a file; a missing one is fine. Raises StoreError."""
    with explained(path):
        if path.exists():
            path.unlink(missing_ok=True)
            _sync(path.parent)


def replace_durably(finished: Path, path: Path) -> None:
    """Move a finished file over `path`, which must be on the same file system."""
    _sync(finished)
    finished.replace(path)
    _sync(path.parent)


@contextmanager
def staging_folder(parent: Path, name: str) -> Iterator[Path]:
    """Create an empty folder `parent/.NAME.build` that belongs to this process until the block ends.

    It is on the file system of `parent`, so a finished file moves out of it atomically. A second process waits for the
    first. The folder's name is fixed, so the next process clears what a killed one left.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder = staging_path(parent.resolve(), name)
    descriptor = _lock_folder(folder)
    try:
        _clear(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def staging_path(parent: Path, name: str) -> Path:
    """Return the hidden folder in which `parent/name` is built."""
    return parent / f".{name}.build"


@contextmanager
def file_lock(path: Path, *, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock on `path`; call `on_wait` once before waiting for another process. Raises StoreError."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _lock_folder(folder: Path) -> int:
    """Return an open descriptor that holds the folder's lock."""
    while True:
        folder.mkdir(exist_ok=True)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # The process that held the lock may have removed the folder; a lock on a removed folder protects nothing.
        if folder.exists() and os.path.samestat(folder.stat(), os.fstat(descriptor)):
            return descriptor
        os.close(descriptor)


def _clear(folder: Path) -> None:
    for item in folder.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()


def _sync(path: Path) -> None:
    """Write a file, or a folder's list of files, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
