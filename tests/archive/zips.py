"""Zip files written byte by byte, so that each field can say something else than it should."""

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

Fields = dict[str, Any]


@dataclass(frozen=True)
class File:
    """One file; `header` and `entry` replace fields of the local header and of the directory's entry."""

    name: bytes
    data: bytes = b"x"
    method: int = 0
    size: int | None = None
    crc: int | None = None
    flags: int = 0
    header: Fields = field(default_factory=dict)
    entry: Fields = field(default_factory=dict)
    gap: bytes = b""

    def local(self) -> bytes:
        """The header, with the data behind it."""
        told = self._told() | {"extra": b""} | self.header
        name, extra = bytes(told["name"]), bytes(told["extra"])
        fixed = (b"PK\3\4", 20, *(told[key] for key in FIELDS), len(name), len(extra))
        return self.gap + struct.pack("<4s5H3I2H", *fixed) + name + extra + self.data

    def central(self, at: int) -> bytes:
        """The entry in the directory of a file whose header stands at `at`."""
        more = {"extra": b"", "comment": b"", "disk": 0, "mode": 0o100644, "at": at}
        told = self._told() | more | self.entry
        name, extra, comment = bytes(told["name"]), bytes(told["extra"]), bytes(told["comment"])
        lengths = (len(name), len(extra), len(comment), told["disk"], 0, told["mode"] << 16, told["at"])
        fixed = (b"PK\1\2", 20, 20, *(told[key] for key in FIELDS), *lengths)
        return struct.pack("<4s6H3I5H2I", *fixed) + name + extra + comment

    def _told(self) -> Fields:
        size = len(self.data) if self.size is None else self.size
        crc = zlib.crc32(self.data) if self.crc is None else self.crc
        told = {"flags": self.flags, "method": self.method, "time": 0, "date": 0x21, "crc": crc}
        return {"name": self.name, "packed": len(self.data), "size": size, **told}


FIELDS = ("flags", "method", "time", "date", "crc", "packed", "size")
ALPHA, BETA = File(b"alpha", b"first"), File(b"beta", b"second")


def deflated(name: bytes, content: bytes, behind: bytes = b"", cut: int | None = None) -> File:
    """A file whose data are a deflate stream, cut or with bytes behind it."""
    maker = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = (maker.compress(content) + maker.flush())[:cut] + behind
    return File(name, packed, 8, len(content), zlib.crc32(content))


def zipped(*files: File, gap: bytes = b"", inside: bytes = b"", behind: bytes = b"", **end: int) -> bytes:
    """A whole zip. `gap` stands in front of the directory, `inside` at its end; `end` replaces fields of the end."""
    bodies, at, entries = [], 0, []
    for file in files:
        bodies.append(file.local())
        entries.append(file.central(at + len(file.gap)))
        at += len(bodies[-1])
    body, directory = b"".join(bodies) + gap, b"".join(entries) + inside
    told = {"disk": 0, "of": 0, "here": len(files), "count": len(files), "length": len(directory)}
    told |= {"start": len(body), "comment": 0} | end
    return body + directory + struct.pack("<4s4H2IH", b"PK\5\6", *told.values()) + behind
