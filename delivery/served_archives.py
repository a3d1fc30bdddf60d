"""The archive of a model that a running TorchServe serves, in its model store or at the URL that it came from.

TorchServe describes an archive by what it was registered with: a name in its model store, or a URL. It keeps what it
fetches under the last part of the URL.
"""

import re
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import requests

from delivery.running_torchserve import RunningTorchServe
from engines.engine_profile import ModelVersion
from engines.torchserve.auth import direct_session
from errors import ArchiveError, ConfigError
from files import explained, replace_durably, staging_folder
from settings import Settings

TIMEOUT_S = 30.0  # of a server that sends nothing
BLOCK = 1024 * 1024


def archive_of(running: RunningTorchServe, version: ModelVersion, settings: Settings) -> Path:
    """Return the archive of a version, fetched where its model store is not here. Raises ConfigError and ArchiveError.

    TorchServe may have a folder in its place, without `.mar`.
    """
    parts = urlsplit(version.url)
    if parts.scheme == "file":
        return _existing(Path(unquote(parts.path)), version, "put it there again")
    name = version.archive if parts.scheme in ("http", "https") else version.url
    if running.model_store is not None and _is_inside(name) and (running.model_store / name).exists():
        return running.model_store / name
    if parts.scheme in ("http", "https"):
        return _fetched(version, settings)
    if running.model_store is None:
        raise ConfigError(f"its model store is not known here: MODEL_STORE= names the folder that holds {name}")
    if not _is_inside(name) and not Path(name).is_absolute():
        raise ConfigError(f"its archive {_shown(version)} leads out of the model store {running.model_store}")
    elsewhere = "put it there again, or name the folder that TorchServe has it from with MODEL_STORE="
    return _existing(running.model_store / name, version, elsewhere)


def newer_than_workers(archive: Path, version: ModelVersion) -> bool:
    """Return True for a file that was written after the workers had started: they may run another content."""
    if version.started is None or not archive.is_file():
        return False
    written = datetime.fromtimestamp(archive.stat().st_mtime, UTC)
    return written > datetime.fromisoformat(version.started).astimezone(UTC)


def _is_inside(name: str) -> bool:
    return bool(name) and not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts


def _existing(path: Path, version: ModelVersion, remedy: str) -> Path:
    if not path.exists():
        raise ConfigError(f"its archive {_shown(version)} is missing: {path} does not exist; {remedy}")
    return path


def _fetched(version: ModelVersion, settings: Settings) -> Path:
    """Fetch an archive by HTTP into the state folder."""
    folder = Path(settings.paths.state) / "adoptions" / "fetched"
    name = re.sub(r"[^A-Za-z0-9._-]", "_", f"{version.model}-{version.version}.mar")
    left = settings.rollout.max_unpacked_bytes
    target = folder / name
    with explained(target), staging_folder(folder, name) as staging, direct_session() as session:
        draft = staging / name
        try:
            with session.get(version.url, stream=True, timeout=TIMEOUT_S) as answer, draft.open("wb") as file:
                if not answer.ok:
                    raise ArchiveError(f"its archive cannot be fetched: {_shown(version)} answers {answer.status_code}")
                for block in answer.iter_content(BLOCK):
                    left -= len(block)
                    if left < 0:
                        raise ArchiveError(f"its archive is larger than rollout.max_unpacked_bytes: {_shown(version)}")
                    file.write(block)
        except requests.RequestException as error:
            reason = type(error).__name__
            raise ArchiveError(f"its archive cannot be fetched from {_shown(version)}: {reason}") from None
        replace_durably(draft, target)
    return target


def _shown(version: ModelVersion) -> str:
    """Return the URL without user and query, which may hold a password or a signature."""
    parts = urlsplit(version.url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
