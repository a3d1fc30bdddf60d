"""The one opening for archives whose code is going to run: whole, looked at, and signed where that is required."""

from dataclasses import dataclass, fields
from pathlib import Path

from archive.container import Container, lay_out, naming
from archive.model import Archive, verified
from archive.read import open_archive
from archive.scan import scan
from archive.structure import Limits
from errors import ArchiveError


@dataclass(frozen=True)
class Trust:
    """Limits of what is unpacked, and the public key of those whose archives are run; None: anybody's."""

    unpacked_bytes: int
    public_key: str | None = None
    required: bool = False


@dataclass(frozen=True)
class Trusted(Archive):
    """An archive whose code may run. `open_trusted` alone makes one."""

    def unpack(self, folder: Path) -> None:
        """Write its files, which are those that were checked, into an empty folder."""
        with naming(self.path), Container.open(self.path) as container:
            for file in self.files:
                lay_out(verified(container, file), folder, file.name)


def open_trusted(path: Path, trust: Trust) -> Trusted:
    """Open an archive whose structure, checksums, code and signature hold; raises ArchiveError for what does not.

    A signature is checked when there is a public key to check it with, and must be there when it is required.
    """
    archive = scan(open_archive(path, Limits(total=trust.unpacked_bytes)))
    if trust.public_key is not None:
        # Imported here: who signs nothing needs no cryptography.
        from archive.sign import verify

        verify(archive, Path(trust.public_key), required=trust.required)
    elif trust.required:
        raise ArchiveError(f"{path}: is not signed, and signing.required asks for it")
    return Trusted(**{field.name: getattr(archive, field.name) for field in fields(Archive)})
