"""The checks of a new version before it gets any request: the engine's copy of its archive, and its golden answers.

Another writer of the store may replace an archive between its check and the engine's fetch. So a version is first
registered without workers, which runs no code. Then every unpacked file must have the size and sha256 of the checked
archive, and no other file may exist.
"""

import base64
import hashlib
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archive import Archive
from engines.engine_profile import ArchiveCopy, PredictionInput
from engines.torchserve.engine_client import EngineClient
from errors import RolloutError
from handlers.golden import misses
from settings import Settings

log = logging.getLogger(__name__)


def check_comparable(engine: EngineClient, settings: Settings) -> None:
    """Raise RolloutError when signatures are required and the engine's copies cannot be compared."""
    hidden = engine.hides_copies()
    if hidden is not None and settings.signing.required:
        raise RolloutError(_not_comparable(hidden))


def compare_copy(copy: ArchiveCopy, archive: Archive, settings: Settings) -> None:
    """Compare the engine's copy with the published archive.

    Raises RolloutError that names the first different file. A copy that cannot be read is an error when signatures are
    required, and otherwise a warning.
    """
    name = f"{archive.model_name} {archive.version}"
    if copy.folder is not None:
        different = difference(copy.folder, archive)
        if different is not None:
            raise RolloutError(
                f"the engine's copy is not the checked archive: {different}; find out who else writes to the store"
            )
        log.info("the engine's copy of %s has the %d files of the checked archive", name, len(archive.files))
    elif copy.hidden is not None and settings.signing.required:
        raise RolloutError(_not_comparable(copy.hidden))
    elif copy.hidden is not None:
        log.warning("the engine's copy of %s was not compared with the checked archive: %s", name, copy.hidden)


def difference(folder: Path, archive: Archive, *, running: bool = False) -> str | None:
    """Describe the first file in which a folder differs from the archive; return None when it holds exactly its files.

    While workers are `running`, Python keeps compiled modules beside the archive's own.
    """
    wanted = {file.name: file for file in archive.files}
    try:
        found = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
        if running:
            found = {name: path for name, path in found.items() if path.parent.name != "__pycache__"}
        for name in sorted(wanted.keys() ^ found.keys()):
            return f"{name} is {'missing' if name in wanted else 'not in the archive'}"
        for name, path in found.items():
            if (path.lstat().st_size, _sha256(path)) != (wanted[name].size, wanted[name].sha256):
                return f"{name} has other content"
    except OSError as error:
        return f"{error.filename or folder} cannot be read ({error.strerror})"
    return None


def check_golden(engine: EngineClient, model: str, version: str, golden: Mapping[str, Any]) -> int:
    """Send every golden input to `version` and compare the answers with the framework's; return their number.

    Raises RolloutError that names the first answer beyond the tolerance.
    """
    samples = golden["samples"]
    for number, sample in enumerate(samples, start=1):
        request = PredictionInput(base64.b64decode(sample["body"]), sample["content_type"])
        answer = engine.predict(model, version, request)
        if answer.status != 200:
            raise RolloutError(f"golden input {number} got {answer.status}: {answer.text[:200]}")
        if (found := misses(sample["predictions"], answer.body, golden["tolerance"])) is not None:
            raise RolloutError(f"golden input {number} is answered differently: {found}")
    return len(samples)


def probe_request(archive: Archive) -> PredictionInput:
    """Return the first golden input: a cheap request that the version answers with 200."""
    sample = archive.golden["samples"][0]
    return PredictionInput(base64.b64decode(sample["body"]), sample["content_type"])


def _files(folder: Path) -> list[Path]:
    """List everything below a folder except folders; a link counts as a file."""
    paths = (Path(parent) / name for parent, folders, files in os.walk(folder) for name in (*folders, *files))
    return [path for path in paths if not stat.S_ISDIR(path.lstat().st_mode)]


def _sha256(path: Path) -> str | None:
    """Return the checksum, or None if the path is not a regular file. Follows no link."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return None
        return hashlib.file_digest(file, "sha256").hexdigest()


def _not_comparable(reason: str) -> str:
    return f"signing.required is true, but the engine's own copy cannot be compared with the checked archive: {reason}"
