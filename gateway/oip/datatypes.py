"""The protocol's datatypes: the elements that each holds, their raw form, and their field in a gRPC message.

The raw form is row-major, little-endian and without padding; each BYTES element follows its length in 4 bytes.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from errors import UnreadableInput

BYTES = "BYTES"

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Datatype:
    """One datatype.

    Attributes:
        name: the protocol's name.
        kind: the Python type of an element; bytes for BYTES, which holds text, too.
        low: the smallest finite value.
        high: the largest one.
        code: the code of `struct`; that of its upper half's float for BF16, none for BYTES.
        size: bytes of an element, 0 for BYTES.
        field: the field of InferTensorContents; None where gRPC has the raw form only.

    """

    name: str
    kind: type[bool] | type[int] | type[float] | type[bytes]
    low: float
    high: float
    code: str
    size: int
    field: str | None

    def holds(self, value: Any) -> bool:
        """Return True for an element of this datatype, as JSON has it."""
        if self.kind is bytes:
            return type(value) is str
        if self.kind is float:
            return type(value) in (int, float) and not self.high < abs(value) < inf
        return isinstance(value, int) and type(value) is self.kind and self.low <= value <= self.high

    def holds_exactly(self, values: Sequence[float]) -> bool:
        """Return True when these finite numbers stay what they are as elements of this datatype."""
        try:
            return list(self.from_bytes(self.to_bytes(values))) == list(values)
        except (struct.error, OverflowError, ValueError):
            return False

    def from_bytes(self, raw: bytes) -> Sequence[Any]:
        """Return the elements of a raw form of whole elements; UINT8 stays the bytes that it is.

        Raises UnreadableInput when a BYTES element is cut off.
        """
        if self.name == BYTES:
            return list(_elements(raw))
        if self.name == "UINT8":
            return raw
        if self.name == "BF16":
            raw = _with_lower_half(raw)
        return struct.unpack(f"<{len(raw) // struct.calcsize(self.code)}{self.code}", raw)

    def to_bytes(self, values: Sequence[Any]) -> bytes:
        """Return the raw form of these elements. Raises struct.error or OverflowError for what it does not hold."""
        if self.name == BYTES:
            encoded = [value if isinstance(value, bytes) else str(value).encode() for value in values]
            return b"".join(_LENGTH.pack(len(element)) + element for element in encoded)
        if self.name == "BF16":
            return _upper_half(values)
        return struct.pack(f"<{len(values)}{self.code}", *values)


def _number(name: str, code: str, field: str | None, high: float) -> Datatype:
    kind = float if name.startswith(("FP", "BF")) else int
    low = 0 if name.startswith("U") else -high - (kind is int)
    return Datatype(name, kind, low, high, code, 2 if name == "BF16" else struct.calcsize(code), field)


_LARGEST_FP32 = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]
_LARGEST_BF16 = struct.unpack("<f", b"\0\0\x7f\x7f")[0]

DATATYPES: Mapping[str, Datatype] = {
    each.name: each
    for each in (
        Datatype("BOOL", bool, False, True, "?", 1, "bool_contents"),
        _number("UINT8", "B", "uint_contents", 2**8 - 1),
        _number("UINT16", "H", "uint_contents", 2**16 - 1),
        _number("UINT32", "I", "uint_contents", 2**32 - 1),
        _number("UINT64", "Q", "uint64_contents", 2**64 - 1),
        _number("INT8", "b", "int_contents", 2**7 - 1),
        _number("INT16", "h", "int_contents", 2**15 - 1),
        _number("INT32", "i", "int_contents", 2**31 - 1),
        _number("INT64", "q", "int64_contents", 2**63 - 1),
        _number("FP16", "e", None, 65504.0),
        _number("BF16", "f", None, _LARGEST_BF16),
        _number("FP32", "f", "fp32_contents", _LARGEST_FP32),
        _number("FP64", "d", "fp64_contents", inf),
        Datatype(BYTES, bytes, 0, 0, "", 0, "bytes_contents"),
    )
}


def datatype_of(name: str, tensor: str) -> Datatype:
    """Return the datatype of this name. Raises UnreadableInput, which names the tensor, when there is none."""
    found = DATATYPES.get(name)
    if found is None:
        raise UnreadableInput(
            f"input '{tensor[:80]}': {name[:20]!r} is no datatype; the datatypes are {', '.join(DATATYPES)}"
        )
    return found


def _with_lower_half(raw: bytes) -> bytes:
    """Return BF16 as FP32, of which it is the upper half."""
    whole = bytearray(2 * len(raw))
    whole[2::4], whole[3::4] = raw[0::2], raw[1::2]
    return bytes(whole)


def _upper_half(values: Sequence[float]) -> bytes:
    """Return numbers as BF16, rounded to the nearest, and to even halfway. Raises OverflowError beyond its range."""
    whole = struct.unpack(f"<{len(values)}I", struct.pack(f"<{len(values)}f", *values))
    return struct.pack(f"<{len(values)}H", *map(_rounded_half, whole))


def _rounded_half(bits: int) -> int:
    if bits & 0x7FFFFFFF > 0x7F800000:
        return bits >> 16 | 0x40  # not a number, and quiet, so that the upper half is not infinity
    half = bits + 0x7FFF + (bits >> 16 & 1) >> 16
    if half & 0x7FFF == 0x7F80 and bits & 0x7FFFFFFF != 0x7F800000:
        raise OverflowError("float too large for BF16")
    return half


def _elements(raw: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(raw):
        start = position + _LENGTH.size
        position = start + _LENGTH.unpack(raw[position:start])[0] if start <= len(raw) else start
        if position > len(raw):
            raise UnreadableInput("it ends inside a BYTES element")
        yield raw[start:position]
