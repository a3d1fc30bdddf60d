"""Brings an archive from the store, and from nowhere else, into a file."""

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import requests

from engines.ray.refusals import InvalidArchive, NoSuchArchive

if TYPE_CHECKING:  # a worker fetches as well, and starts without settings
    from settings import Settings

CHUNK = 1024 * 1024
TIMEOUT_S = 60.0  # of silence, not of the whole fetch


@dataclass(frozen=True)
class Source:
    """Where archives may come from: URLs that match `pattern` whole, and the files of `folder` where there is one."""

    pattern: str
    folder: str | None
    limit: int

    @classmethod
    def of(cls, settings: "Settings") -> Self:
        """The store of these settings."""
        folder = settings.store.folder if settings.store.name == "local" else None
        return cls(settings.store.allowed_urls, folder, settings.rollout.max_unpacked_bytes)

    def fetch(self, url: str, target: Path, sha256: str | None = None) -> str:
        """Write the archive to `target` and return its sha256, which must be `sha256` where that is given.

        Raises NoSuchArchive for a URL that is not one of the store, and when nothing can be fetched there;
        InvalidArchive for another archive than the one that was checked.
        """
        try:
            if re.fullmatch(r"[A-Za-z0-9_.-]+\.mar", url) and self.folder is not None:
                shutil.copyfile(Path(self.folder) / url, target)
            elif re.fullmatch(self.pattern, url):
                self._download(url, target)
            else:
                raise NoSuchArchive(f"Given URL {_shown(url)} does not match any allowed URL(s)")
        except requests.RequestException as error:
            raise NoSuchArchive(f"Failed to download archive from {_shown(url)}: {type(error).__name__}") from None
        except OSError as error:
            raise NoSuchArchive(f"Failed to fetch archive {_shown(url)}: {error.strerror or error}") from None
        with target.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 not in (None, found):
            raise InvalidArchive(f"Archive {_shown(url)} is not the one that was checked: its sha256 is {found}")
        return found

    def _download(self, url: str, target: Path) -> None:
        # A redirect could lead anywhere, so none is followed.
        with requests.get(url, stream=True, timeout=TIMEOUT_S, allow_redirects=False) as answer:
            if answer.status_code != 200:
                raise NoSuchArchive(f"Failed to download archive from {_shown(url)}: status {answer.status_code}")
            written = 0
            with target.open("wb") as file:
                for chunk in answer.iter_content(CHUNK):
                    written += len(chunk)
                    if written > self.limit:
                        raise NoSuchArchive(f"Archive at {_shown(url)} is larger than {self.limit} bytes")
                    file.write(chunk)


def _shown(url: str) -> str:
    """Without its query, which is the signature of a signed URL."""
    return url.partition("?")[0][:300]
