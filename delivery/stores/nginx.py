"""The file browser: nginx serves a folder; publishing an archive means putting its file there.

Beside each versioned archive is a JSON file of the same name, from which the page of the file browser describes it.
"""

import json
from pathlib import Path

import requests

from archive import open_archive
from archive.manifest import SIGNATURE
from delivery.stores.folder import FolderStore, remove_from_folder
from delivery.stores.store import VERSIONED, check_name
from delivery.stores.store_keys import read_upload_key
from errors import StoreError
from files import explained, write_atomic
from settings.schema import NginxStoreSettings

TIMEOUT_S = 10.0
UPLOAD_TIMEOUT_S = 120.0  # from the last byte sent to the answer, while nginx moves the file
_REFUSED = {
    401: "the file browser does not accept the key",
    405: "the file browser accepts no uploads; it was started without store.put_key_file",
    409: "an archive of this name exists already, and a published one is never replaced",
    413: "the archive is larger than the file browser accepts",
    500: "the file browser could not write it; is its disk full?",
}


class FileBrowserStore(FolderStore):
    """Archives in the folder that nginx serves under `/files/`."""

    def __init__(self, store: NginxStoreSettings) -> None:
        super().__init__(Path(store.folder))
        self._store = store

    def put(self, source: Path, name: str) -> None:
        """Store a file and check that nginx serves it, so that a wrong folder is detected before the engine fetches."""
        super().put(source, name)
        size = (self._folder / name).stat().st_size
        try:
            answer = requests.head(self.url(name), timeout=TIMEOUT_S)
        except requests.ReadTimeout:
            raise StoreError(f"{self.url(name)}: the file browser did not answer in {TIMEOUT_S:g} s") from None
        except requests.RequestException:
            raise StoreError(f"no file browser at {self._store.url}; `make up` starts it") from None
        if answer.status_code != 200 or int(answer.headers.get("Content-Length", -1)) != size:
            raise StoreError(f"{self.url(name)} does not serve {self._folder / name}; is it another stack's?")
        write_sidecar(self._folder, name)

    def upload(self, source: Path, name: str) -> None:
        """Upload a new file through nginx, with the upload key; nginx never replaces a published archive.

        Raises StoreError with nginx's reason.
        """
        check_name(name)
        headers = {"Authorization": f"Bearer {read_upload_key(Path(self._store.put_key_file or ''))}"}
        with explained(source):
            opened = source.open("rb")
        try:
            with opened as file:
                answer = requests.put(self.url(name), data=file, headers=headers, timeout=(TIMEOUT_S, UPLOAD_TIMEOUT_S))
        except requests.RequestException as error:
            raise StoreError(
                f"{self.url(name)}: the upload broke off ({type(error).__name__}); is it running?"
            ) from None
        if answer.status_code != 201:
            raise StoreError(f"{self.url(name)}: {_REFUSED.get(answer.status_code, f'status {answer.status_code}')}")
        if self.path(name) is not None:
            write_sidecar(self._folder, name)

    def url(self, name: str) -> str:
        """Return the address under which nginx serves an archive."""
        return f"{self._store.url}/files/{name}"

    def remove(self, name: str) -> None:
        """Delete the file and its description."""
        super().remove(name)
        if (beside := sidecar_name(name)) is not None:
            remove_from_folder(self._folder, beside)


def sidecar_name(name: str) -> str | None:
    """Return `digits-1.0.json` for `digits-1.0.mar`; None for an archive without a version, which may be rebuilt."""
    return f"{name.removesuffix('.mar')}.json" if VERSIONED.fullmatch(name) else None


def write_sidecar(folder: Path, name: str) -> None:
    """Describe the published archive `folder/name`: version, checksums and model card.

    Raises ArchiveError, and StoreError when it cannot be written.
    """
    beside = sidecar_name(name)
    if beside is None:
        return
    archive = open_archive(folder / name)
    described = {
        "name": name,
        "model_name": archive.model_name,
        "version": archive.version,
        "size": archive.size,
        "sha256": archive.sha256,
        "signed": any(file.name == SIGNATURE for file in archive.files),
        "card": archive.card,
    }
    write_atomic(folder / beside, json.dumps(described, indent=2, ensure_ascii=False) + "\n", 0o644)
