"""What is believed of an archive before anything in it is run.

TorchServe checks nothing. Here an archive must be safe to unpack and readable in one way only, whoever made it; where
it lists checksums, it is opened as the kit's own are, by `archive.open_trusted`; and where signatures are required, it
must bear one.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archive import Limits, Trust, open_trusted
from archive.container import Container, lay_out, naming
from archive.documents import object_of
from archive.manifest import check_version
from archive.model import CHECKSUMS, MANIFEST
from archive.structure import check_structure
from engines.ray.refusals import InvalidArchive
from errors import ArchiveError, MarinaError

MANIFEST_BYTES = 1024 * 1024
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
"""Names of other makers' models: what stands in a URL, in a file's name and in a metric as it is."""


@dataclass(frozen=True)
class Named:
    """What an archive says that it is."""

    model: str
    version: str


def check(path: Path, trust: Trust) -> Named:
    """Check an archive and return its names; raises InvalidArchive for one that is broken, unsafe or not trusted."""
    try:
        with naming(path), Container.open(path) as container:
            check_structure(container.members, Limits(total=trust.unpacked_bytes))
            manifest = _manifest(container)
            ours = any(member.name == CHECKSUMS for member in container.members)
        if ours:
            open_trusted(path, trust)
        elif trust.required:
            raise ArchiveError("is not signed, and signing.required asks for it")
    except MarinaError as error:
        words = str(error).removeprefix(f"{path}: ")
        raise InvalidArchive(f"Archive {path.name} is refused: {words}") from None
    return manifest


def unpack(path: Path, folder: Path, unpacked_bytes: int) -> None:
    """Unpack an archive whose bytes are those that `check` has seen, by their sha256, into an empty folder."""
    with Container.open(path) as container:
        check_structure(container.members, Limits(total=unpacked_bytes))
        for member in container.members:
            lay_out(container.chunks(member), folder, member.name)


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of an unpacked archive."""
    content: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return content


def _manifest(container: Container) -> Named:
    if container.member(MANIFEST).size > MANIFEST_BYTES:
        raise ArchiveError(f"{MANIFEST} is larger than {MANIFEST_BYTES} bytes")
    content = object_of(b"".join(container.chunks(container.member(MANIFEST))), MANIFEST)
    model = content.get("model")
    if not isinstance(model, dict):
        raise ArchiveError(f"{MANIFEST} names no model or no handler")
    name, handler, version = model.get("modelName"), model.get("handler"), model.get("modelVersion") or "1.0"
    if not all(isinstance(each, str) and each for each in (name, handler, version)):
        raise ArchiveError(f"{MANIFEST} names no model or no handler")
    if not NAME.fullmatch(str(name)):
        raise ArchiveError(f"{MANIFEST} has the name {str(name)[:80]!r}; names are of letters, digits, _, - and .")
    check_version(str(version))
    return Named(str(name), str(version))
