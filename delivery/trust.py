"""What delivery believes of an archive before anything in it is run."""

from pathlib import Path

from archive import Archive, Limits, open_archive, scan
from settings import Settings


def open_trusted(path: Path, settings: Settings) -> Archive:
    """Open an archive whose structure, checksums, code and signature hold; raises ArchiveError for what does not.

    A signature is checked when there is a public key to check it with, and must be there when the settings require it.
    """
    archive = scan(open_archive(path, Limits(total=settings.rollout.max_unpacked_bytes)))
    if settings.signing.public_key is not None:
        # Imported here: who signs nothing needs no cryptography.
        from archive.sign import verify

        verify(archive, Path(settings.signing.public_key), required=settings.signing.required)
    return archive
