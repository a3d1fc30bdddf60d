"""What is believed of an archive before anything in it is run.

TorchServe checks nothing. Here an archive must be safe to unpack, whoever made it; where it lists checksums, they and
all the rest that the kit's archives promise must hold; and where signatures are required, it must bear one.
"""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archive import Limits, open_archive
from archive.model import CHECKSUMS, MANIFEST
from archive.structure import check_structure
from engines.ray.refusals import InvalidArchive
from errors import ArchiveError, MarinaError

MANIFEST_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Trust:
    """Limits of what is unpacked, and the public key of those whose archives are run; None: anybody's."""

    unpacked_bytes: int
    public_key: str | None = None
    required: bool = False


@dataclass(frozen=True)
class Named:
    """What an archive says that it is."""

    model: str
    version: str


def check(path: Path, trust: Trust) -> Named:
    """Check an archive and return its names; raises InvalidArchive for one that is broken, unsafe or not trusted."""
    limits = Limits(total=trust.unpacked_bytes)
    try:
        with zipfile.ZipFile(path) as source:
            check_structure(source.infolist(), limits)
            ours = CHECKSUMS in source.namelist()
            manifest = _manifest(source)
        if ours:
            _verify(path, limits, trust)
        elif trust.required:
            raise ArchiveError("is not signed, and signing.required asks for it")
    except (MarinaError, zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
        raise InvalidArchive(f"Archive {path.name} is refused: {error}") from None
    model = manifest["model"]
    return Named(str(model["modelName"]), str(model.get("modelVersion") or "1.0"))


def unpack(path: Path, folder: Path) -> None:
    """Unpack an archive, whose names `check` has seen, into an empty folder."""
    with zipfile.ZipFile(path) as source:
        source.extractall(folder)


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of an unpacked archive."""
    content: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return content


def _verify(path: Path, limits: Limits, trust: Trust) -> None:
    archive = open_archive(path, limits)
    if trust.public_key is not None:
        # Imported here: who signs nothing needs no cryptography.
        from archive.sign import verify

        verify(archive, Path(trust.public_key), required=trust.required)


def _manifest(source: zipfile.ZipFile) -> dict[str, Any]:
    if MANIFEST not in source.namelist() or source.getinfo(MANIFEST).file_size > MANIFEST_BYTES:
        raise ArchiveError(f"has no {MANIFEST}")
    try:
        content = json.loads(source.read(MANIFEST))
    except ValueError:
        raise ArchiveError(f"{MANIFEST} is not JSON") from None
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not model.get("modelName") or not model.get("handler"):
        raise ArchiveError(f"{MANIFEST} names no model or no handler")
    return dict(content)
