"""TorchServe's own model store folder: the archive is named by file and fetched from nowhere."""

from pathlib import Path

from delivery.stores.base import file_in, published_in, put_into_folder, remove_from_folder
from settings.schema import LocalStoreSettings


class LocalFolder:
    """Archives in the folder that TorchServe was started with as its model store."""

    def __init__(self, store: LocalStoreSettings) -> None:
        self._folder = Path(store.folder)

    def put(self, source: Path, name: str) -> None:
        """Store a file."""
        put_into_folder(source, self._folder, name)

    def url(self, name: str) -> str:
        """The bare file name, which TorchServe looks up in its model store."""
        return name

    def path(self, name: str) -> Path | None:
        """The file in the model store."""
        return file_in(self._folder, name)

    def versions(self, model: str) -> set[str]:
        """Those whose archives lie in the folder."""
        return published_in(self._folder, model)

    def remove(self, name: str) -> None:
        """Delete the file."""
        remove_from_folder(self._folder, name)
