"""System shared memory: regions in /dev/shm that clients on this machine register, for inputs and outputs.

    register ─▶ RegionRegistry ─┐
    infer    ─▶ RequestMemory ──┴─▶ open, check the size, pread or pwrite, close

Regions are not mapped: reading a mapped page beyond the end of a file that was cut ends the process.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from errors import Forbidden, NotAllowed, NotSupported, TooLarge, UnreadableInput
from files import file_mark, read_text, replacing
from gateway.http.body import BodyBudget, budget_full
from gateway.http.context import RequestContext

FOLDER = Path("/dev/shm")  # noqa: S108 -- where shm_open keeps its objects
MOST_REGIONS = 1024
_LONGEST_NAME = 255

REGION, OFFSET, SIZE = "shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"
"""The parameters of a tensor in a region."""


@dataclass(frozen=True, slots=True)
class Region:
    """A registered region: `byte_size` bytes from `offset` on in the object under `key`, as `shm_open` names it."""

    name: str
    key: str
    offset: int
    byte_size: int


@dataclass(frozen=True, slots=True)
class RegionSlice:
    """The bytes of a region that a tensor occupies, or may."""

    region: Region
    offset: int
    byte_size: int

    @property
    def parameters(self) -> dict[str, str | int]:
        """The parameters of a tensor there."""
        return {REGION: self.region.name, **({OFFSET: self.offset} if self.offset else {}), SIZE: self.byte_size}


class RegionRegistry:
    """The regions by name; all processes of one gateway share the file in `folder`, a single one needs none."""

    def __init__(self, folder: Path | None) -> None:
        self._file = None if folder is None else folder / "shared_memory.json"
        self._mark: tuple[int, int, int] | None = None
        self._regions: dict[str, Region] = {}

    def all(self) -> dict[str, Region]:
        """Return the registered regions. Raises DiskError."""
        if self._file is not None and (mark := file_mark(self._file)) != self._mark:
            self._regions = {each["name"]: Region(**each) for each in orjson.loads(read_text(self._file) or b"[]")}
            self._mark = mark
        return self._regions

    def find(self, name: str) -> Region:
        """Return the region of this name. Raises UnreadableInput when none is registered."""
        found = self.all().get(name)
        if found is None:
            raise UnreadableInput(f"no shared memory region '{name[:80]}' is registered")
        return found

    def add(self, region: Region) -> None:
        """Register a region. Raises UnreadableInput for a taken name, and for an object that does not hold it."""
        if not 0 < len(region.name) <= _LONGEST_NAME:
            raise UnreadableInput(f"the name of a shared memory region has 1 to {_LONGEST_NAME} characters")
        with _opened(region, os.O_RDONLY):
            pass
        with self._changing() as regions:
            if region.name in regions:
                raise UnreadableInput(
                    f"shared memory region '{region.name}' is registered already; unregister it first"
                )
            if len(regions) >= MOST_REGIONS:
                raise UnreadableInput(f"{MOST_REGIONS} shared memory regions are registered; unregister some first")
            regions[region.name] = region

    def remove(self, name: str | None) -> None:
        """Forget a region, all of them for None; one that is not registered is fine."""
        with self._changing() as regions:
            if name is None:
                regions.clear()
            else:
                regions.pop(name, None)

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Region]]:
        if self._file is None:
            yield self._regions
            return
        with replacing(self._file, 0o600) as write:
            regions = dict(self.all())
            yield regions
            write(orjson.dumps([asdict(region) for region in regions.values()]))


@dataclass(frozen=True, slots=True)
class RequestMemory:
    """The regions as one request may use them; `registry` is None where the configuration turns them off."""

    registry: RegionRegistry | None
    is_local: bool
    budget: BodyBudget
    context: RequestContext

    def regions(self) -> RegionRegistry:
        """Return the registry. Raises NotAllowed or Forbidden where this client may not use it."""
        if self.registry is None:
            raise NotAllowed("shared memory is off; gateway.shared_memory=true allows it to clients on this machine")
        if not self.is_local:
            raise Forbidden("shared memory is for clients on the gateway's machine; send the tensors in the request")
        return self.registry

    def slice_of(self, parameters: Mapping[str, Any], tensor: str) -> RegionSlice | None:
        """Return the place of a tensor that its parameters name; None for one that is in no region.

        Raises UnreadableInput for a region that is not registered and for bytes outside of it.
        """
        name = parameters.get(REGION)
        if name is None:
            return None
        offset, size = parameters.get(OFFSET, 0), parameters.get(SIZE)
        if not isinstance(name, str) or type(offset) is not int or type(size) is not int or offset < 0 or size < 0:
            raise UnreadableInput(f"'{tensor[:80]}': {REGION} is text, {OFFSET} and {SIZE} are numbers of bytes")
        region = self.regions().find(name)
        if offset + size > region.byte_size:
            raise UnreadableInput(
                f"'{tensor[:80]}': {size} bytes from {offset} on are beyond the {region.byte_size} bytes of shared "
                f"memory region '{region.name}'"
            )
        return RegionSlice(region, offset, size)

    def read(self, place: RegionSlice) -> bytes:
        """Return the bytes of an input. Raises UnreadableInput, TooLarge or OverCapacity."""
        if place.byte_size > self.budget.largest:
            raise TooLarge(f"an input is larger than the {self.budget.largest} bytes that are accepted")
        if not self.budget.take(place.byte_size):
            raise budget_full()
        self.context.held += place.byte_size
        region = self._current(place)
        with _opened(region, os.O_RDONLY) as descriptor:
            found = os.pread(descriptor, place.byte_size, region.offset + place.offset)
        if len(found) < place.byte_size:
            raise _cut(region)
        return found

    def write(self, place: RegionSlice, data: bytes, tensor: str) -> RegionSlice:
        """Write an output, and return its place. Raises UnreadableInput when it does not fit there."""
        if len(data) > place.byte_size:
            raise UnreadableInput(
                f"output '{tensor}' needs {len(data)} bytes of shared memory region '{place.region.name}', "
                f"{SIZE} gives it {place.byte_size}"
            )
        region = self._current(place)
        with _opened(region, os.O_WRONLY) as descriptor:
            try:
                written = os.pwrite(descriptor, data, region.offset + place.offset)
            except OSError as error:  # /dev/shm is full, and this part of the object was never written
                raise UnreadableInput(f"shared memory region '{region.name}': {error.strerror}") from None
            if written < len(data):
                raise _cut(region)
        return replace(place, byte_size=len(data))

    def _current(self, place: RegionSlice) -> Region:
        """Return the region of a slice. Raises UnreadableInput when its name is another region by now, or none."""
        found = self.regions().find(place.region.name)
        if found != place.region:
            raise UnreadableInput(
                f"shared memory region '{found.name[:80]}' was registered again, as other bytes, during the request"
            )
        return found


def no_cuda(name: str) -> NotSupported:
    """Return the error for a region of a GPU's memory."""
    return NotSupported(
        f"region '{name[:80]}': CUDA shared memory is not offered, because the gateway uses no GPU; use system shared "
        "memory, or send the tensor in the request"
    )


@contextmanager
def _opened(region: Region, flags: int) -> Iterator[int]:
    """Open a region's object for one use. Raises UnreadableInput when it is gone or has become too small."""
    key = region.key.removeprefix("/")
    if not key or "/" in key or "\0" in key or key in (".", ".."):
        raise UnreadableInput(
            f"key {region.key[:80]!r} names no shared memory object; it is one name, as in /my_region"
        )
    try:
        descriptor = os.open(FOLDER / key, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UnreadableInput(
            f"shared memory region '{region.name[:80]}': {region.key[:80]!r} cannot be opened: {error.strerror}"
        ) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size < region.offset + region.byte_size:
            raise _cut(region)
        yield descriptor
    finally:
        os.close(descriptor)


def _cut(region: Region) -> UnreadableInput:
    return UnreadableInput(
        f"shared memory region '{region.name[:80]}': {region.key[:80]!r} is smaller than the "
        f"{region.byte_size} bytes from {region.offset} on"
    )
