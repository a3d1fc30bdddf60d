"""The room for archives on an engine host: TorchServe keeps each one twice, as fetched and unpacked.

    first process ──RoomReport.write──▶ room.json beside the keys ──RoomReport.beside──▶ delivery, before it registers

TorchServe answers a fetch that fills its temporary folder with "Failed to download archive", and without the reason.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from files import write_atomic

NAME = "room.json"
SETTING = "MARINA_TS_TMP in docker/.env, or the size of that folder elsewhere"


@dataclass(frozen=True, slots=True)
class RoomReport:
    """The free and all bytes of TorchServe's temporary folder, which holds the archives."""

    folder: str
    free: int
    size: int

    @classmethod
    def beside(cls, key_file: Path) -> Self | None:
        """Return the report of the host whose keys these are; None where no first process writes one."""
        try:
            return cls(**json.loads((key_file.parent / NAME).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, key_folder: Path) -> None:
        """Write the report beside the keys. Raises DiskError."""
        write_atomic(key_folder / NAME, json.dumps(asdict(self)))

    def lacks(self, needed: int) -> str | None:
        """Return what is missing for an archive that needs so many bytes; None when it fits."""
        if needed <= self.free:
            return None
        room = f"{self.folder} has {self.free:,} of {self.size:,} bytes free for archives"
        return f"{room}, and this one needs {needed:,}, packed and unpacked; raise {SETTING}, or remove a version"
