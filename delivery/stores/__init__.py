"""Where archives lie for the engine to fetch: one interface, one file a store, chosen by `store=`."""

from delivery.stores.base import Store
from delivery.stores.local import LocalFolder
from delivery.stores.nginx import FileBrowser
from errors import StoreError
from settings import Settings
from settings.schema import LocalStore, NginxStore

__all__ = ["Store", "open_store"]


def open_store(settings: Settings) -> Store:
    """The store that the settings name."""
    match settings.store:
        case NginxStore() as store:
            return FileBrowser(store)
        case LocalStore() as store:
            return LocalFolder(store)
        case other:
            raise StoreError(f"no store {other!r}")
