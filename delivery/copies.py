"""The engine's own copy of an archive, compared with what was checked before a worker starts from it.

Between the check and the engine's fetch somebody who may write to the store can have put another archive there. So a
version is registered without workers, which runs nothing; then every file that the engine has unpacked must have the
size and sha256 of the archive that was checked, and no other file may be there.
"""

import hashlib
import logging
import os
import stat
from pathlib import Path

from archive import Archive
from engines.engine_profile import ArchiveCopy
from engines.torchserve.client import EngineClient
from errors import RolloutError
from settings import Settings

log = logging.getLogger(__name__)


def check_comparable(engine: EngineClient, settings: Settings) -> None:
    """Raise RolloutError when signatures are required and the engine's copies cannot be compared."""
    hidden = engine.hides_copies()
    if hidden is not None and settings.signing.required:
        raise RolloutError(_refusal(hidden))


def compare(copy: ArchiveCopy, archive: Archive, settings: Settings) -> None:
    """Compare the engine's copy with the archive as it was published.

    Raises RolloutError naming the first file that differs, and for a copy that cannot be read when signatures are
    required; without that a warning says so.
    """
    name = f"{archive.model_name} {archive.version}"
    if copy.folder is not None:
        differs = difference(copy.folder, archive)
        if differs is not None:
            raise RolloutError(
                f"what the engine has fetched is not what was checked: {differs}; find out who else writes to the store"
            )
        log.info("%d files of %s are with the engine as they were checked", len(archive.files), name)
    elif copy.hidden is not None and settings.signing.required:
        raise RolloutError(_refusal(copy.hidden))
    elif copy.hidden is not None:
        log.warning("the engine's copy of %s was not compared with what was checked: %s", name, copy.hidden)


def difference(folder: Path, archive: Archive, *, running: bool = False) -> str | None:
    """Return what the first file that differs is, in words; None when all are the archive's, and no others.

    Where workers are `running`, Python keeps the modules that it has compiled beside them.
    """
    wanted = {file.name: file for file in archive.files}
    try:
        found = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
        if running:
            found = {name: path for name, path in found.items() if path.parent.name != "__pycache__"}
        for name in sorted(wanted.keys() ^ found.keys()):
            return f"{name} is {'not in it' if name in wanted else 'not in the archive'}"
        for name, path in found.items():
            if (path.lstat().st_size, _sha256(path)) != (wanted[name].size, wanted[name].sha256):
                return f"{name} is another"
    except OSError as error:
        return f"{error.filename or folder} cannot be read ({error.strerror})"
    return None


def _files(folder: Path) -> list[Path]:
    """Everything below a folder but folders; a link counts as a file."""
    paths = (Path(place) / name for place, folders, files in os.walk(folder) for name in (*folders, *files))
    return [path for path in paths if not stat.S_ISDIR(path.lstat().st_mode)]


def _sha256(path: Path) -> str | None:
    """None for what is no regular file; no link is followed."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return None
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refusal(hidden: str) -> str:
    return f"signing.required, but the engine's own copy cannot be compared with what was checked: {hidden}"
