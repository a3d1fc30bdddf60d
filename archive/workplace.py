"""A private folder beside the file that is being made: one maker at a time, and nothing left over."""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from errors import StoreError

# What to do about an error of the file system, by its number.
_FULL = "free some space on its disk, then run the command again"
_DENIED = "let this user read and write there"
_IN_THE_WAY = "a file or folder of another kind is in the way; move it away"
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
def explained(place: Path) -> Iterator[None]:
    """Turn an error of the file system on the way to `place` into a StoreError of one line.

    The line names the file, or the folder on its way that is at fault, the reason and what to do.
    """
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        line = f"{_at_fault(place, error)}: {error.strerror or error}{f'; {remedy}' if remedy else ''}"
        raise StoreError(line) from None


def work_folder(parent: Path, name: str) -> Path:
    """Where a draft of `parent/name` is made: hidden, and of a fixed name."""
    return parent / f".{name}.build"


def _at_fault(place: Path, error: OSError) -> Path:
    """The path that the error names, unless it is a draft: people know the file that it becomes."""
    named = error.filename2 or error.filename
    path = Path(named) if isinstance(named, str) else place
    if _REMEDIES.get(error.errno or 0) == _IN_THE_WAY:
        on_the_way = (part for part in reversed((path, *path.parents)) if part.exists() and not part.is_dir())
        return next(on_the_way, path)
    return place if work_folder(place.parent, place.name).name in path.parts else path


def read_text(source: Path) -> str | None:
    """A file's text; None when there is no such file. Raises StoreError, of one line, when it cannot be read."""
    with explained(source):
        try:
            return source.read_text()
        except FileNotFoundError:
            return None


def replace_text(target: Path, text: str) -> None:
    """Replace a file's text, atomically and durably. Raises StoreError, of one line, when that cannot be done."""
    with replacing(target) as replace:
        replace(text)


@contextmanager
def replacing(target: Path) -> Iterator[Callable[[str], None]]:
    """Hold a file for one change, so that nobody overlooks another's; yields the function that replaces its text.

    Raises StoreError, of one line, when that cannot be done; the file is then as it was.
    """
    with explained(target), private_folder(target.parent, target.name) as work:

        def replace(text: str) -> None:
            draft = work / target.name
            draft.write_text(text)
            publish(draft, target)

        yield replace


def create_text(target: Path, text: str) -> bool:
    """Write a file that only its owner may read, whole or not at all; False when there is one already.

    Raises StoreError, of one line, when it cannot be written.
    """
    with explained(target):
        if target.exists():
            return False
        with private_folder(target.parent, target.name) as work:
            draft = work / target.name
            draft.touch(0o600)
            draft.write_text(text)
            try:
                os.link(draft, target)  # unlike a rename, this never takes the place of what somebody has just made
            except FileExistsError:
                return False
    return True


def forget(target: Path) -> None:
    """Remove a file durably; one that is not there is fine. Raises StoreError, of one line, when it cannot be."""
    with explained(target):
        if target.exists():
            target.unlink(missing_ok=True)
            _sync(target.parent)


@contextmanager
def private_folder(parent: Path, name: str) -> Iterator[Path]:
    """An empty folder `parent/.NAME.build`, this process's alone until the block ends.

    It lies on the file system of `parent`, so a finished file moves out of it atomically. Its name is fixed: what a
    killed process left there is cleared by the next one. A second process waits for the first.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder = work_folder(parent.resolve(), name)
    descriptor = _locked(folder)
    try:
        _clear(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _locked(folder: Path) -> int:
    """An open descriptor of `folder` that holds its lock."""
    while True:
        folder.mkdir(exist_ok=True)
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # The process that had the lock removed the folder: this lock is on a folder that is no longer there.
        if folder.exists() and os.path.samestat(folder.stat(), os.fstat(descriptor)):
            return descriptor
        os.close(descriptor)


def _clear(folder: Path) -> None:
    for item in folder.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()


def publish(finished: Path, target: Path) -> None:
    """Moves a finished file over `target`; a reader, or a power cut, sees the old one or the new one, whole."""
    with finished.open("rb") as file:
        os.fsync(file.fileno())
    finished.replace(target)
    _sync(target.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
