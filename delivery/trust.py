"""What delivery believes of an archive before anything in it is run."""

from pathlib import Path

import archive
from archive import Trust, Trusted
from settings import Settings


def open_trusted(path: Path, settings: Settings) -> Trusted:
    """Open an archive as `archive.open_trusted` does, with the limits and keys of the settings."""
    signing = settings.signing
    return archive.open_trusted(path, Trust(settings.rollout.max_unpacked_bytes, signing.public_key, signing.required))
