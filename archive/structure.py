"""Refuses archives that are unsafe to unpack: path escapes, links, duplicates and claimed sizes."""

import re
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from archive.container import DEFLATED, STORED, Member
from errors import ArchiveError

RATIO = 1100  # deflate cannot shrink further: 258 bytes in two bits, with some room


@dataclass(frozen=True)
class Limits:
    """What an archive may claim to hold; sizes in bytes after unpacking."""

    files: int = 10_000
    total: int = 16 * 1024**3  # the largest vision networks stay an order of magnitude below
    document: int = 64 * 1024**2  # each JSON file and the checksum list, which are read into memory


def check_structure(members: Sequence[Member], limits: Limits) -> None:
    """Raises ArchiveError, naming the entry, for the first thing that is unsafe."""
    if len(members) > limits.files:
        raise ArchiveError(f"holds {len(members)} files, the limit is {limits.files}")
    for member in members:
        _check_name(member.name)
        _check_type(member)
        _check_size(member)
    _check_duplicates(member.name for member in members)
    total = sum(member.size for member in members)
    if total > limits.total:
        raise ArchiveError(f"claims {total} bytes when unpacked, the limit is {limits.total}")


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or re.match(r"[A-Za-z]:", name):
        raise ArchiveError(f"holds the absolute path {name!r}")
    if ".." in path.parts or "\\" in name:
        raise ArchiveError(f"holds the path {name!r}, which leaves the folder it is unpacked in")
    if not name.isprintable() or str(path) != name or name == ".":
        raise ArchiveError(f"holds {name!r}, which is not the plain path of a file")


def _check_type(member: Member) -> None:
    if stat.S_IFMT(member.mode) not in (0, stat.S_IFREG):
        raise ArchiveError(f"holds the link or special file {member.name!r}")
    # All that TorchServe's Java reads.
    if member.method not in (STORED, DEFLATED):
        raise ArchiveError(f"holds {member.name!r}, which is neither stored nor deflated")


def _check_size(member: Member) -> None:
    fits = member.size == member.packed if member.method == STORED else member.size <= member.packed * RATIO
    if not fits:
        raise ArchiveError(f"claims {member.size} bytes for {member.name!r}, which holds {member.packed}")


def _check_duplicates(names: Iterable[str]) -> None:
    seen: set[str] = set()
    folders: set[str] = set()
    for name in names:
        # Names that differ only in case, or in how their accents are written, are one file on some systems.
        key = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
        if key in seen:
            raise ArchiveError(f"holds {name!r} twice")
        seen.add(key)
        folders.update(str(parent) for parent in PurePosixPath(key).parents)
    if both := sorted(seen & folders):
        raise ArchiveError(f"holds {both[0]!r} as a file and as a folder")
