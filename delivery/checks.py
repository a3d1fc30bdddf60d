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
from archive.adopted import CONFIG as FRONTEND_FILE
from archive.adopted import LOCK
from archive.foreign import yaml_mapping
from engines.engine_profile import ArchiveCopy, PredictionInput
from engines.torchserve.engine_client import EngineClient
from engines.torchserve.model_config import TIMEOUT_S
from engines.torchserve.room import RoomReport
from errors import RolloutError
from handlers.golden import response_misses
from handlers.outputs import HandlerResponse
from settings import Settings
from settings.load import ROOT
from settings.schema import EngineHostSettings

log = logging.getLogger(__name__)


def check_comparable(engine: EngineClient, settings: Settings) -> None:
    """Raise RolloutError when signatures are required and the engine's copies cannot be compared."""
    hidden = engine.hides_copies()
    if hidden is not None and settings.signing.required:
        raise RolloutError(_not_comparable(hidden))


def check_packages(archive: Archive, settings: Settings) -> None:
    """Raise RolloutError when an archive brings packages and the settings refuse them."""
    if settings.engine.requirements != "allow" and any(file.name == LOCK for file in archive.files):
        raise RolloutError(f"{archive.path} brings packages of its own ({LOCK}): engine.requirements=allow serves it")


def check_timeout(archive: Archive, settings: Settings) -> None:
    """Raise RolloutError when an adopted archive's file has another response timeout than the settings.

    Raises ArchiveError for a file that is not YAML.
    """
    if not any(file.name == FRONTEND_FILE for file in archive.files):
        return
    config = yaml_mapping(archive.read(FRONTEND_FILE), f"{archive.path}: {FRONTEND_FILE}")
    stated = config.get("responseTimeout") or TIMEOUT_S
    wanted = settings.served_model.request_params.response_timeout or settings.engine.response_timeout_s
    if stated != wanted:
        raise RolloutError(
            f"{archive.path} states a response timeout of {stated} s ({FRONTEND_FILE}), which TorchServe prefers to "
            f"the configured {wanted} s: set served_model.request_params.response_timeout={stated}, or adopt the "
            "archive again with another responseTimeout in its model-config.yaml"
        )


def check_room(host: EngineHostSettings, archive: Archive) -> None:
    """Raise RolloutError when the engine host has too little room for the archive, packed and unpacked."""
    report = None if host.key_file is None else RoomReport.beside(ROOT / host.key_file)
    lacking = None if report is None else report.lacks(archive.size + sum(file.size for file in archive.files))
    if lacking is not None:
        raise RolloutError(f"the engine has too little room: {lacking}")


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
        answer = engine.predict(model, version, _request_of(sample))
        response = HandlerResponse(answer.status, answer.headers, answer.body)
        if (found := response_misses(sample["predictions"], response, golden["tolerance"])) is not None:
            raise RolloutError(f"golden input {number} {found}")
    return len(samples)


def probe_request(archive: Archive) -> PredictionInput:
    """Return the first golden input: a cheap request that the version answers."""
    return _request_of(archive.golden["samples"][0])


def _request_of(sample: Mapping[str, Any]) -> PredictionInput:
    return PredictionInput(base64.b64decode(sample["body"]), sample["content_type"], sample.get("headers", {}))


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
