"""The zip of an archive: refused when it is ambiguous or unsafe to unpack.

    header, data │ header, data │ ... │ central directory │ end

A zip describes each file twice: in a header in front of its data, and in a directory at the end. Python reads the
directory and TorchServe (Java) reads the headers, so a crafted file can show them different content. Here both
descriptions must agree, and no other byte may precede, separate or follow the members (APPNOTE.TXT 4.3).
"""

import contextlib
import os
import re
import stat
import struct
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import Self

from errors import ArchiveError

CHUNK = 1024 * 1024
STORED, DEFLATED = 0, 8
UTF8 = 0x800  # bit 11 of the flags: the name is UTF-8
EFFORT = 0x6  # bits 1 and 2: the compression level, which readers ignore
MAX = 0xFFFFFFFF  # marks a number that is in the Zip64 extra field
MAX_COUNT = 0xFFFF
LARGEST_DIRECTORY = 16 * 1024**2  # bytes; far more than the largest allowed number of files needs
RATIO = 1100  # deflate cannot shrink further: 258 bytes in two bits, and some room

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_LARGE_END = _END64.size + _LOCATOR.size


@dataclass(frozen=True)
class UnpackLimits:
    """The largest archive that is accepted; sizes in bytes after unpacking."""

    files: int = 10_000
    total: int = 16 * 1024**3  # the largest vision networks are ten times smaller
    document: int = 64 * 1024**2  # each JSON file and the checksum list, which are read into memory


@dataclass(frozen=True)
class Member:
    """One file as header and directory describe it; sizes and the start of its data in bytes.

    `mode` is the Unix mode, 0 where the writer recorded none.
    """

    name: str
    method: int
    crc: int
    packed: int
    size: int
    mode: int
    start: int

    @property
    def end(self) -> int:
        """The position of the next header, or of the directory."""
        return self.start + self.packed


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Begin the text of every error about an archive with its path."""
    try:
        yield
    except ArchiveError as error:
        raise named(path, error) from None
    except OSError as error:
        raise named(path, error.strerror or error) from None


def named(path: Path, words: object) -> ArchiveError:
    """Return an error whose text begins with the path, once."""
    return ArchiveError(f"{path}: {words}".replace(f"{path}: {path}: ", f"{path}: "))


class Container:
    """An open, unambiguous zip. All methods raise ArchiveError without the path, or OSError."""

    def __init__(self, file: BufferedIOBase) -> None:
        """Read the positions of the members, but none of their data."""
        self.file = file
        self.members = tuple(_members(file))
        self._named = {member.name: member for member in self.members}

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Open a regular file; a folder or a pipe is refused, without waiting for its writer."""
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ArchiveError("is not a file")
            yield cls(file)

    def member(self, name: str) -> Member:
        """Return the member of that name."""
        if name not in self._named:
            raise ArchiveError(f"has no {name}")
        return self._named[name]

    def chunks(self, member: Member) -> Iterator[bytes]:
        """Yield the unpacked bytes of a member: exactly as many as it claims, and matching its CRC-32."""
        crc = size = 0
        for block in _unpacked(self.file, member):
            size += len(block)
            if size > member.size:
                break
            crc = zlib.crc32(block, crc)
            yield block
        if size != member.size:
            raise ArchiveError(f"holds {member.name!r}, whose data are not the {member.size} bytes that it claims")
        if crc != member.crc:
            raise ArchiveError(f"holds {member.name!r}, whose data do not fit its CRC-32")


def lay_out(blocks: Iterator[bytes], folder: Path, name: str) -> None:
    """Write one unpacked file below `folder`; `check_structure` must have accepted its name."""
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        file.writelines(blocks)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _unpacked(file: BufferedIOBase, member: Member) -> Iterator[bytes]:
    if member.method == STORED:
        yield from _packed(file, member)
        return
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for packed in _packed(file, member):
            block = packed
            while block and not inflate.eof:
                yield inflate.decompress(block, CHUNK)
                block = inflate.unconsumed_tail
            if inflate.eof and (inflate.unused_data or file.tell() < member.end):
                raise ArchiveError(f"holds {member.name!r}, with bytes behind its compressed data")
        yield inflate.flush()
    except zlib.error as error:
        raise _broken(f"{member.name!r}: {error}") from None
    if not inflate.eof:
        raise _broken(f"the compressed data of {member.name!r} do not end")


def _packed(file: BufferedIOBase, member: Member) -> Iterator[bytes]:
    file.seek(member.start)
    while left := member.end - file.tell():
        block = file.read(min(CHUNK, left))
        if not block:
            raise _broken(f"it ends within {member.name!r}")
        yield block


def _members(file: BufferedIOBase) -> Iterator[Member]:
    """Yield the members, in the order of the directory and of their data."""
    count, start, length = _end(file)
    file.seek(start)
    directory, at, end = memoryview(file.read(length)), 0, 0
    for _ in range(count):
        member, taken = _member(file, directory[at:], end)
        yield member
        at, end = at + taken, member.end
    if (at, end) != (length, start):
        raise ArchiveError("has bytes that belong to no file, or to two, in front of its directory or in it")


def _end(file: BufferedIOBase) -> tuple[int, int, int]:
    """Return the number of members, and the start and length of the directory."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END.size - _LARGE_END))
    tail = file.read()
    end, before = tail[-_END.size :], tail[: -_END.size]
    if end[:4] != b"PK\5\6" or len(end) < _END.size:
        raise _broken("it is cut short, or something follows its directory")
    large = len(before) == _LARGE_END and before[_END64.size :].startswith(b"PK\6\7")
    if large:
        *_, count, length, start = _END64.unpack_from(before)
    else:
        _, _, _, _, count, length, start, _ = _END.unpack(end)
    if length > LARGEST_DIRECTORY:
        raise ArchiveError(f"has a directory of {length} bytes, the limit is {LARGEST_DIRECTORY}")
    written = _written_end(count, length, start, large=large)
    if start + length + len(written) != size or not tail.endswith(written):
        raise ArchiveError("has a comment, or an end that does not agree with its directory")
    return count, start, length


def _written_end(count: int, length: int, start: int, *, large: bool) -> bytes:
    """Return the bytes that must follow a directory; `large` is the Zip64 form."""
    few = min(count, MAX_COUNT)
    end = _END.pack(b"PK\5\6", 0, 0, few, few, min(length, MAX), min(start, MAX), 0)
    if not large:
        return end
    numbers = _END64.pack(b"PK\6\6", _END64.size - 12, 45, 45, 0, 0, count, count, length, start)
    return numbers + _LOCATOR.pack(b"PK\6\7", 0, start + length, 1) + end


def _member(file: BufferedIOBase, directory: memoryview, end: int) -> tuple[Member, int]:
    """Return the first member of `directory`, whose header must be at `end`, and the length of its entry."""
    if len(directory) < _CENTRAL.size:
        raise _broken("its directory is cut short")
    signature, _, _, *described, packed, size, named, more, comment, disk, _, mode, header = _CENTRAL.unpack_from(
        directory
    )
    taken = _CENTRAL.size + named + more
    raw, extra = bytes(directory[_CENTRAL.size :][:named]), bytes(directory[_CENTRAL.size + named : taken])
    flags, method, _, _, crc = described
    if signature != b"PK\1\2":
        raise _broken("its directory holds something else than files")
    name = _name(raw, flags)
    if comment or disk:
        raise ArchiveError(f"holds {name!r} with a comment, or on another disk")
    if flags & ~(UTF8 | EFFORT):
        raise ArchiveError(f"holds {name!r}, which is encrypted or packed into a pipe (flags {flags:#x})")
    size, packed, header = _numbers(name, extra, size, packed, header)
    if header != end:
        raise ArchiveError(f"has bytes that belong to no file, or to two, in front of {name!r}")
    start = _start(file, header, (*described, raw), packed, size)
    if start is None:
        raise ArchiveError(f"holds {name!r}, whose header disagrees with its directory")
    return Member(name, method, crc, packed, size, mode >> 16, start), taken


def _start(file: BufferedIOBase, header: int, described: tuple[int | bytes, ...], packed: int, size: int) -> int | None:
    """Return the start of the data behind a header; None when the header disagrees with the directory."""
    file.seek(header)
    local = file.read(_LOCAL.size)
    if len(local) < _LOCAL.size or local[:4] != b"PK\3\4":
        return None
    _, _, *fields, packed_here, size_here, named, more = _LOCAL.unpack(local)
    raw, extra = file.read(named), file.read(more)
    if extra == struct.pack("<2H2Q", 1, 16, size, packed) and packed_here == size_here == MAX:
        extra, packed_here, size_here = b"", packed, size
    if (*fields, raw, packed_here, size_here, extra) != (*described, packed, size, b""):
        return None
    return file.tell()


def _name(raw: bytes, flags: int) -> str:
    """Decode a name. Java reads every name as UTF-8, Python only those with the flag, so others would be ambiguous."""
    try:
        return raw.decode("utf-8" if flags & UTF8 else "ascii")
    except UnicodeDecodeError:
        raise ArchiveError(f"holds the name {raw!r}, which is not UTF-8 or does not say so") from None


def _numbers(name: str, extra: bytes, *numbers: int) -> Iterator[int]:
    """Yield the numbers; those too large come from the Zip64 extra field, the only one that is allowed."""
    large = [number for number in numbers if number == MAX]
    form = struct.Struct(f"<2H{len(large)}Q")
    if large and len(extra) == form.size:
        kind, length, *large = form.unpack(extra)
        if (kind, length) == (1, form.size - 4):
            extra = b""
    if extra:
        raise ArchiveError(f"holds {name!r} with an extra field; pack it again without")
    return (large.pop(0) if number == MAX else number for number in numbers)


def _broken(words: str) -> ArchiveError:
    return ArchiveError(f"not a readable archive: {words}")


def check_structure(members: Sequence[Member], limits: UnpackLimits) -> None:
    """Raise ArchiveError, naming the file, for the first member that is unsafe."""
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
    # TorchServe's Java reads no other method.
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
        # Some systems take names that differ only in case, or in the form of an accent, for one file.
        key = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
        if key in seen:
            raise ArchiveError(f"holds {name!r} twice")
        seen.add(key)
        folders.update(str(parent) for parent in PurePosixPath(key).parents)
    if both := sorted(seen & folders):
        raise ArchiveError(f"holds {both[0]!r} as a file and as a folder")
