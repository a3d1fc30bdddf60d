"""Durable files: a reader, or a power cut, sees the old content of a file or the new one, whole.

    write_atomic      replace the content of a file
    write_once        write a secret that only its owner may read; never overwrite one
    replacing         hold a file for one read and one write
    staging_folder ─▶ replace_durably    build a file beside its final path, then move it there
    remove_durably    remove a file
    file_lock         one process at a time
    file_mark         tell whether a file has been replaced

Each write is synced to the disk together with its folder. Errors of the file system become a DiskError of one line.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from errors import DiskError

_FULL = "free some space on its disk, then run the command again"
_DENIED = "let this user read and write there"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
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
def explained(path: Path, needs: int | None = None) -> Iterator[None]:
    """Turn an OSError about `path` into a DiskError of one line.

    The line names the file, or the folder on the path to it that is at fault, the reason and the remedy; for a full
    disk also its free bytes, and how many the content `needs`.
    """
    try:
        yield
    except OSError as error:
        raise disk_error(error, path, needs) from None


def explanation(error: OSError) -> str | None:
    """Return one line for an error of the file system that users can mend; None for another error."""
    named = error.filename2 or error.filename
    if error.errno in _REMEDIES and isinstance(named, str):
        return str(disk_error(error, Path(named)))
    if error.errno in _NO_ROOM:
        return f"{error.strerror}; {_FULL}"
    return None


def disk_error(error: OSError, path: Path, needs: int | None = None) -> DiskError:
    """Return the DiskError for an error of the file system about `path`."""
    remedy = _REMEDIES.get(error.errno or 0)
    room = f" ({_room(path, error, needs)})" if error.errno in _NO_ROOM else ""
    reason = f"{error.strerror or error}{room}"
    return DiskError(f"{_at_fault(path, error)}: {reason}{f'; {remedy}' if remedy else ''}")


def _room(path: Path, error: OSError, needs: int | None) -> str:
    """Describe the room on the disk of `path`."""
    needed = [] if needs is None else [f"{needs:,} needed"]
    if error.errno == errno.EDQUOT:
        return ", ".join(["the user's share is used up", *needed])
    found = os.statvfs(next(part for part in path.absolute().parents if part.is_dir()))
    if found.f_files and not found.f_favail:
        return "it holds no more files"
    return ", ".join([f"{found.f_bavail * found.f_frsize:,} bytes free", *needed])


def _at_fault(path: Path, error: OSError) -> Path:
    """Return the path that the error names; for a draft, return the final file, whose name the user knows."""
    named = error.filename2 or error.filename
    found = Path(named) if isinstance(named, str) else path
    if _REMEDIES.get(error.errno or 0) == _IN_THE_WAY:
        parents = (part for part in reversed((found, *found.parents)) if part.exists() and not part.is_dir())
        return next(parents, found)
    return path if staging_path(path.parent, path.name).name in found.parts else found


def read_text(path: Path) -> str | None:
    """Return a file's text, or None when there is no such file. Raises DiskError."""
    with explained(path):
        try:
            return path.read_text()
        except FileNotFoundError:
            return None


def file_mark(path: Path) -> tuple[int, int, int] | None:
    """Return a value that differs after the file has been replaced; None without the file. Raises OSError."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def write_atomic(path: Path, content: str | bytes, mode: int | None = None) -> None:
    """Replace a file's content, atomically and durably; `mode` sets its permissions. Raises DiskError."""
    with replacing(path, mode) as replace:
        replace(content)


@contextmanager
def replacing(path: Path, mode: int | None = None) -> Iterator[Callable[[str | bytes], None]]:
    """Hold a file for one change, and yield the function that replaces its content.

    Other processes that change the same file wait. Raises DiskError; the file is then as it was.
    """
    with explained(path), staging_folder(path.parent, path.name) as staging:

        def replace(content: str | bytes) -> None:
            _draft(staging / path.name, path, content, mode).replace(path)
            _sync(path.parent)

        yield replace


def write_once(path: Path, content: str | bytes, mode: int = 0o600) -> bool:
    """Write a file that only its owner may read, unless `mode` says more.

    Returns False, and leaves the file as it is, when there is one already. Raises DiskError.
    """
    with explained(path):
        if path.exists():
            return False
        with staging_folder(path.parent, path.name) as staging:
            draft = _draft(staging / path.name, path, content, mode)
            try:
                os.link(draft, path)  # unlike a rename, a link never replaces what another process has just written
            except FileExistsError:
                return False
        _sync(path.parent)
    return True


def _draft(draft: Path, path: Path, content: str | bytes, mode: int | None) -> Path:
    """Write and sync `draft`, which is to become `path`. Raises DiskError; the draft is then gone."""
    text = content.encode() if isinstance(content, str) else content
    with explained(path, len(text)):
        try:
            draft.touch(0o666 if mode is None else mode)
            if mode is not None:
                draft.chmod(mode)
            draft.write_bytes(text)
            _sync(draft)
        except OSError:
            draft.unlink(missing_ok=True)  # so that its part does not count as used
            raise
    return draft


def remove_durably(path: Path) -> None:
    """Remove a file; a missing one is fine. Raises DiskError."""
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
def file_lock(path: Path, *, on_wait: Callable[[], None] = lambda: None, create: bool = True) -> Iterator[None]:
    """Hold a lock on `path`; call `on_wait` once before waiting for another process. Raises DiskError.

    `on_wait` may raise; nothing then waits. Without `create`, nothing needs to be written: where the lock cannot be
    created, the folder is locked in its place, and a process that creates the lock meanwhile waits.
    """
    with explained(path):
        lock = _open_lock(path, create=create)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _open_lock(path: Path, *, create: bool) -> int:
    """Return a descriptor of the lock file, which is created when it is missing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return _create_lock(path)
    except OSError:
        if create:
            raise
    # On a full disk or on one that can only be read.
    readable = path if path.is_file() else next(part for part in path.absolute().parents if part.is_dir())
    return os.open(readable, os.O_RDONLY)


def _create_lock(path: Path) -> int:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    finally:
        os.close(folder)


def _lock_folder(folder: Path) -> int:
    """Return an open descriptor that holds the folder's lock."""
    while True:
        # Not mkdir(exist_ok=True), which fails when another process removes the folder meanwhile.
        with suppress(FileExistsError):
            folder.mkdir()
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # The process that held the lock may have removed the folder; a lock on a removed folder protects nothing.
        with suppress(FileNotFoundError):
            if os.path.samestat(folder.stat(), os.fstat(descriptor)):
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
