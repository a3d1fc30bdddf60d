"""Fetches an archive from the store only, checks it before its code runs, and unpacks it once per node.

The Management API answers an archive that `archive.trust` refuses with 400.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import requests

from archive.trust import ArchiveIdentity, TrustPolicy, unpack_verified, verify_archive
from engines.python.messages import ArchiveNotFound, InvalidModelException
from engines.python.registry import SEPARATOR, Registration
from errors import MarinaError
from files import staging_folder

if TYPE_CHECKING:  # a worker fetches archives as well, and starts without settings
    from settings import Settings

CHUNK = 1024 * 1024
TIMEOUT_S = 60.0  # without data, not for the whole download
IN_USE = ".in-use"


@dataclass(frozen=True)
class ArchiveSource:
    """The allowed sources of archives: URLs that match `pattern` as a whole, and the files of `folder` if it is set."""

    pattern: str
    folder: str | None
    limit: int

    @classmethod
    def of(cls, settings: "Settings") -> Self:
        """Return the store of these settings."""
        folder = settings.store.folder if settings.store.name == "local" else None
        return cls(settings.store.allowed_urls, folder, settings.rollout.max_unpacked_bytes)

    def fetch(self, url: str, target: Path, sha256: str | None = None) -> str:
        """Write the archive to `target` and return its sha256, which must equal the given one.

        Raises ArchiveNotFound for a URL outside the store and for a failed download, and InvalidModelException for an
        archive with another sha256.
        """
        try:
            if re.fullmatch(r"[A-Za-z0-9_.-]+\.mar", url) and self.folder is not None:
                shutil.copyfile(Path(self.folder) / url, target)
            elif re.fullmatch(self.pattern, url):
                self._download(url, target)
            else:
                raise ArchiveNotFound(f"Given URL {_shown(url)} does not match any allowed URL(s)")
        except requests.RequestException as error:
            raise ArchiveNotFound(f"Failed to download archive from {_shown(url)}: {type(error).__name__}") from None
        except OSError as error:
            raise ArchiveNotFound(f"Failed to fetch archive {_shown(url)}: {error.strerror or error}") from None
        with target.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 not in (None, found):
            message = f"Archive {_shown(url)} is not the one that was checked: its sha256 is {found}"
            raise InvalidModelException(message)
        return found

    def _download(self, url: str, target: Path) -> None:
        # A redirect could lead anywhere, so none is followed.
        with requests.get(url, stream=True, timeout=TIMEOUT_S, allow_redirects=False) as answer:
            if answer.status_code != 200:
                raise ArchiveNotFound(f"Failed to download archive from {_shown(url)}: status {answer.status_code}")
            written = 0
            with target.open("wb") as file:
                for chunk in answer.iter_content(CHUNK):
                    written += len(chunk)
                    if written > self.limit:
                        raise ArchiveNotFound(f"Archive at {_shown(url)} is larger than {self.limit} bytes")
                    file.write(chunk)


def _shown(url: str) -> str:
    """Return a URL without its query, which is the signature of a signed URL."""
    return url.partition("?")[0][:300]


def check_archive(path: Path, policy: TrustPolicy) -> ArchiveIdentity:
    """Return an archive's identity. Raises InvalidModelException for one that is broken, unsafe or untrusted."""
    try:
        return verify_archive(path, policy)
    except MarinaError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise InvalidModelException(f"Archive {path.name} is refused: {reason}") from None


class UnpackedArchive:
    """The folder of one archive on this node, which all its workers share; it stays while this object holds it."""

    def __init__(self, registration: Registration, source: ArchiveSource) -> None:
        """Fetch and unpack the archive unless its folder exists.

        Raises InvalidModelException when the store now has other bytes than those that were registered, and when others
        may write to the folder of unpacked archives.
        """
        parent = _own_folder(Path(tempfile.gettempdir()) / "archives")
        self.folder = parent / f"{registration.application}{SEPARATOR}{registration.sha256[:16]}"
        with staging_folder(parent, "unpacking") as staging:
            _sweep(parent, registration.application)
            if not self.folder.is_dir():
                self._unpack(registration, source, staging)
            self._lock = _hold(self.folder)

    def close(self) -> None:
        """Release the folder. The next process that unpacks an archive removes it."""
        os.close(self._lock)

    def _unpack(self, registration: Registration, source: ArchiveSource, staging: Path) -> None:
        file, draft = staging / "archive.mar", staging / "unpacked"
        source.fetch(registration.url, file, registration.sha256)
        draft.mkdir()
        unpack_verified(file, draft, source.limit)
        (draft / IN_USE).touch()
        draft.rename(self.folder)


def _own_folder(path: Path) -> Path:
    """Return the folder, created where it is missing; code that others could have put there is never run."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        message = f"others may write to {path}, where archives are unpacked; set TMPDIR to another folder"
        raise InvalidModelException(message)
    return path


def _hold(folder: Path) -> int:
    descriptor = os.open(folder / IN_USE, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _sweep(parent: Path, kept: str) -> None:
    """Remove the folders that no worker holds; the lock of a killed worker is gone with its process."""
    for mark in parent.glob(f"*/{IN_USE}"):
        if mark.parent.name.startswith(kept + SEPARATOR):
            continue
        with contextlib.suppress(OSError), mark.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(mark.parent, ignore_errors=True)
