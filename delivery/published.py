"""Published archives: which version an archive gets, its name in the store, and how it is read again."""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from archive import Archive, Trusted, open_archive, private_folder, stamp, stamped
from delivery.record import Served
from delivery.stores import Store
from delivery.stores.base import file_name
from delivery.trust import open_trusted
from delivery.versions import free_version
from errors import ArchiveError, RolloutError
from settings import Settings


def assign_version(archive: Archive, registration: Mapping[str, int], registered: Collection[str], store: Store) -> str:
    """The archive's own version unless it is registered or published with other content; then the next free one.

    `registration` is what will be stamped into it, and part of what must not change under a published name.
    """
    taken = set(registered)
    version = free_version(archive.version, taken)
    while (published := store.path(file_name(archive.model_name, version))) is not None:
        if _stands_for(published, archive, registration):
            break
        taken.add(version)
        version = free_version(archive.version, taken)
    return version


def publish(archive: Archive, version: str, store: Store, settings: Settings) -> None:
    """Put a copy of the archive into the store, stamped with version and registration."""
    name, registration = file_name(archive.model_name, version), settings.served_model.request_params.stamped
    with rewritten(archive, version, registration, settings) as copy:
        store.put(copy.path, name)


@contextlib.contextmanager
def rewritten(archive: Archive, version: str, registration: Mapping[str, int], settings: Settings) -> Iterator[Trusted]:
    """A copy of the archive that nobody else has had in hands, checked anew; it is gone when the block ends.

    Only such a copy goes into a store: its container is written here, and it is the copy that was checked.
    """
    # Not in the system's temporary folder: what a killed run leaves here is cleared by the next one.
    with private_folder(Path(settings.paths.state) / "rollouts", f"{archive.model_name}.stamp") as folder:
        target = folder / file_name(archive.model_name, version)
        stamp(archive, version, target, registration)
        yield open_trusted(target, settings)


def same_content(archive: Archive, registration: Mapping[str, int], name: str, store: Store) -> bool:
    """Whether the store holds this very content under `name`, stamped with this registration."""
    path = store.path(name)
    return path is not None and _stands_for(path, archive, registration)


def _stands_for(published: Path, archive: Archive, registration: Mapping[str, int]) -> bool:
    """Whether a published archive stands for this one; with the signature of another key it does not.

    Nor does one that cannot be read, as those that an earlier version of the kit has published.
    """
    try:
        found = open_archive(published)
    except ArchiveError:
        return False
    signed_alike = archive.signature_sha256 in {None, found.signature_sha256}
    return signed_alike and found.content_sha256 == archive.content_sha256 and stamped(found) == registration


def stored(served: Served, store: Store, settings: Settings) -> Trusted:
    """The archive of a version that took traffic once, checked anew. Raises RolloutError when it is gone."""
    path = store.path(served.archive)
    if path is None:
        raise RolloutError(f"{served.archive} is no longer in the store")
    return open_trusted(path, settings)
