"""A private folder beside the file that is being made: one maker at a time, and nothing left over."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def private_folder(parent: Path, name: str) -> Iterator[Path]:
    """An empty folder `parent/.NAME.build`, this process's alone until the block ends.

    It lies on the file system of `parent`, so a finished file moves out of it atomically. Its name is fixed: what a
    killed process left there is cleared by the next one. A second process waits for the first.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent.resolve() / f".{name}.build"
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
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
