"""A folder of archives: TorchServe's own model store, and the base of the file browser."""

import shutil
from pathlib import Path

from delivery.stores.store import check_name, versions_in
from files import explained, remove_durably, replace_durably, staging_folder, staging_path


class FolderStore:
    """Archives in a folder; TorchServe finds one by its file name and fetches nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, source: Path, name: str) -> None:
        """Copy a file into the folder."""
        put_into_folder(source, self._folder, name)

    def url(self, name: str) -> str:
        """Return the bare file name."""
        return name

    def path(self, name: str) -> Path | None:
        """Return the file in the folder. Raises StoreError when the folder cannot be read."""
        path = self._folder / name
        with explained(path):
            return path if path.is_file() else None

    def versions(self, model: str) -> set[str]:
        """Return the versions of a model in the folder. Raises StoreError when it cannot be read."""
        with explained(self._folder):
            return versions_in((path.name for path in self._folder.glob(f"{model}-*.mar")), model)

    def remove(self, name: str) -> None:
        """Delete the archive's file."""
        remove_from_folder(self._folder, name)


def put_into_folder(source: Path, folder: Path, name: str) -> None:
    """Copy `source` to `folder/name`; a reader never sees a partial file.

    Raises StoreError for a name that no archive can have, and when the folder cannot be written.
    """
    check_name(name)
    with explained(source):
        size = source.stat().st_size
    # The staging folder is hidden, so it is neither listed nor served.
    with explained(folder / name, size), staging_folder(folder, name) as work:
        draft = work / name
        shutil.copyfile(source, draft)
        draft.chmod(0o644)
        replace_durably(draft, folder / name)


def remove_from_folder(folder: Path, name: str) -> None:
    """Delete `folder/name` and what a killed run left of it; an unknown name is fine. Raises StoreError."""
    remove_durably(folder / name)
    with explained(folder / name):
        if staging_path(folder, name).exists():
            with staging_folder(folder, name):
                """Entering the block clears the folder, leaving it removes the folder."""
