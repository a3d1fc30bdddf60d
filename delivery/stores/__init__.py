"""Stores, from which the engine fetches archives: one interface, and one file for each store that `store=` can name."""

from pathlib import Path

from delivery.stores.folder import FolderStore
from delivery.stores.nginx import FileBrowserStore
from delivery.stores.store import Store
from errors import StoreError
from settings import Settings
from settings.schema import LocalStoreSettings, NginxStoreSettings, S3StoreSettings

__all__ = ["Store", "open_store"]


def open_store(settings: Settings) -> Store:
    """Return the store that the settings name."""
    match settings.store:
        case NginxStoreSettings() as store:
            return FileBrowserStore(store)
        case LocalStoreSettings() as store:
            return FolderStore(Path(store.folder))
        case S3StoreSettings() as store:
            return _bucket(store)
        case other:
            raise StoreError(f"no store {other!r}")


def _bucket(store: S3StoreSettings) -> Store:
    # Imported here: only this store needs the client library.
    try:
        from delivery.stores.s3 import S3Bucket
    except ImportError as error:
        raise StoreError(f"store=s3 needs {error.name}: pip install -r requirements-s3.txt") from None
    return S3Bucket(store)
