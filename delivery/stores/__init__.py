"""Where archives lie for the engine to fetch: one interface, one file a store, chosen by `store=`."""

from delivery.stores.base import Store
from delivery.stores.local import LocalFolder
from delivery.stores.nginx import FileBrowser
from errors import StoreError
from settings import Settings
from settings.schema import LocalStoreSettings, NginxStoreSettings, S3StoreSettings

__all__ = ["Store", "open_store"]


def open_store(settings: Settings) -> Store:
    """The store that the settings name."""
    match settings.store:
        case NginxStoreSettings() as store:
            return FileBrowser(store)
        case LocalStoreSettings() as store:
            return LocalFolder(store)
        case S3StoreSettings() as store:
            return _bucket(store)
        case other:
            raise StoreError(f"no store {other!r}")


def _bucket(store: S3StoreSettings) -> Store:
    # Imported here: only this store needs the client library.
    try:
        from delivery.stores.s3 import Bucket
    except ImportError as error:
        raise StoreError(f"store=s3 needs {error.name}: pip install -r requirements-s3.txt") from None
    return Bucket(store)
