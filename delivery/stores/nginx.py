"""The file browser: nginx serves a folder, publishing is a file put into it."""

from pathlib import Path

import requests

from delivery.stores import put_key
from delivery.stores.base import check_name, file_in, published_in, put_into_folder, remove_from_folder
from delivery.stores.sidecar import sidecar_name, write_sidecar
from errors import StoreError
from files import explained
from settings.schema import NginxStoreSettings

TIMEOUT_S = 10.0
UPLOAD_TIMEOUT_S = 120.0  # from the last byte sent to the answer: nginx moves the file into place
_REFUSED = {
    401: "the file browser does not accept the key",
    405: "the file browser takes no uploads; it was started without store.put_key_file",
    409: "an archive of this name is there already, and a published one is never replaced",
    413: "the archive is larger than the file browser takes",
    500: "the file browser could not write it; is its disk full?",
}


class FileBrowser:
    """Archives in the folder that nginx serves under `/files/`."""

    def __init__(self, store: NginxStoreSettings) -> None:
        self._store = store
        self._folder = Path(store.folder)

    def put(self, source: Path, name: str) -> None:
        """Store a file and make sure that nginx serves it: a wrong folder shows here and not in the engine."""
        put_into_folder(source, self._folder, name)
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
        """Store a new file through nginx itself, with the key for that; what is there already is never replaced.

        Raises StoreError saying what nginx did not like.
        """
        check_name(name)
        headers = {"Authorization": f"Bearer {put_key.read(Path(self._store.put_key_file or ''))}"}
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
        """The address under which nginx serves it."""
        return f"{self._store.url}/files/{name}"

    def path(self, name: str) -> Path | None:
        """The file in the served folder."""
        return file_in(self._folder, name)

    def versions(self, model: str) -> set[str]:
        """Those whose archives lie in the folder."""
        return published_in(self._folder, model)

    def remove(self, name: str) -> None:
        """Delete the file."""
        remove_from_folder(self._folder, name)
        if (beside := sidecar_name(name)) is not None:
            remove_from_folder(self._folder, beside)
