"""A real file system of a few kilobytes: filled to the last byte, freed again, or mounted for reading only."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest


@dataclass(frozen=True)
class SmallDisk:
    """A mounted file system; `folder` is its root."""

    folder: Path

    def fill(self) -> None:
        """Take all its room: large pieces, single bytes, and files of one byte for the blocks that are left."""
        with (self.folder / "filling").open("wb", buffering=0) as file:
            _until_full(lambda: file.write(bytes(4096)))
            _until_full(lambda: file.write(b"1"))
        names = count()
        _until_full(lambda: (self.folder / f"filling-{next(names)}").write_bytes(b"1"))

    def free(self) -> None:
        """Give the room back."""
        for path in self.folder.glob("filling*"):
            path.unlink()

    def read_only(self) -> None:
        """Let nothing be written from now on."""
        _mount("-o", "remount,ro", str(self.folder))

    def writable(self) -> None:
        """Let it be written again."""
        _mount("-o", "remount,rw", str(self.folder))


def _until_full(write: Callable[[], object]) -> None:
    while True:
        try:
            write()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no right to mount: {done.stderr.strip()}")


@contextmanager
def small_disk(folder: Path, kilobytes: int = 512, *, kind: str = "tmpfs") -> Iterator[SmallDisk]:
    """Mount a file system of this size over `folder`; skips the test without the right to."""
    if os.getuid() != 0:
        pytest.skip("mounting needs root")
    if kind == "tmpfs":
        _mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder))
    else:
        image = folder.with_name(f"{folder.name}.img")
        with image.open("wb") as file:
            file.truncate(kilobytes * 1024)
        # No reserved blocks, and no journal, which would take all the room.
        made = subprocess.run(
            ["mkfs.ext4", "-q", "-m", "0", "-b", "1024", "-O", "^has_journal", str(image)],
            capture_output=True,
            check=False,
        )
        if made.returncode != 0:
            pytest.skip("mkfs.ext4 is missing")
        _mount("-o", "loop", str(image), str(folder))
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
