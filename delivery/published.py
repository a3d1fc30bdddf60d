"""Published archives: which version an archive gets, its name in the store, and how it is read again."""

from collections.abc import Collection, Mapping
from pathlib import Path

from archive import Archive, open_archive, private_folder, stamp, stamped
from delivery.record import Served
from delivery.stores import Store
from delivery.stores.base import file_name
from delivery.trust import open_trusted
from delivery.versions import free_version
from errors import RolloutError
from settings import Settings


def assign_version(archive: Archive, registration: Mapping[str, int], registered: Collection[str], store: Store) -> str:
    """The archive's own version unless it is registered or published with other content; then the next free one.

    `registration` is what will be stamped into it, and part of what must not change under a published name.
    """
    taken = set(registered)
    version = free_version(archive.version, taken)
    while (published := store.path(file_name(archive.model_name, version))) is not None:
        found = open_archive(published)
        if _is_same(archive, found) and stamped(found) == registration:
            break
        taken.add(version)
        version = free_version(archive.version, taken)
    return version


def publish(archive: Archive, version: str, store: Store, settings: Settings) -> None:
    """Put the archive into the store, stamped with version and registration where they are not its own."""
    name = file_name(archive.model_name, version)
    registration = settings.served_model.request_params.stamped
    if archive.version == version and stamped(archive) == registration:
        store.put(archive.path, name)
        return
    # Not in the system's temporary folder: what a killed run leaves here is cleared by the next one.
    with private_folder(Path(settings.paths.state) / "rollouts", f"{archive.model_name}.stamp") as folder:
        store.put(stamp(archive.path, version, folder / name, registration).path, name)


def same_content(archive: Archive, registration: Mapping[str, int], name: str, store: Store) -> bool:
    """Whether the store holds this very content under `name`, stamped with this registration."""
    path = store.path(name)
    if path is None:
        return False
    found = open_archive(path)
    return _is_same(archive, found) and stamped(found) == registration


def _is_same(archive: Archive, found: Archive) -> bool:
    """Whether a published archive stands for this one; with the signature of another key it does not."""
    signed_alike = archive.signature_sha256 in {None, found.signature_sha256}
    return signed_alike and found.content_sha256 == archive.content_sha256


def stored(served: Served, store: Store, settings: Settings) -> Archive:
    """The archive of a version that took traffic once, checked anew. Raises RolloutError when it is gone."""
    path = store.path(served.archive)
    if path is None:
        raise RolloutError(f"{served.archive} is no longer in the store")
    return open_trusted(path, settings)
