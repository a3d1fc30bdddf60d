"""Published archives: which version an archive gets, its name in the store, and how it is read again."""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from archive import Archive, TrustedArchive, TrustPolicy, open_archive, open_trusted, stamp, stamped
from delivery.stores import Store
from delivery.stores.base import file_name
from delivery.versions import Versions, next_version, used
from deployments.serving import DeployedVersion
from errors import ArchiveError, RolloutError
from files import explained, staging_folder
from settings import Settings


def assign_version(archive: Archive, registered: Collection[str], store: Store, settings: Settings) -> str:
    """The archive's own version when it is higher than every one before, otherwise the next; none comes twice."""
    return next_version(archive.version, used(archive.model_name, registered, store, settings))


def publish(archive: Archive, version: str, store: Store, settings: Settings) -> Archive:
    """Put the archive into the store, stamped with version and registration; returns it as it was published."""
    name, registration = file_name(archive.model_name, version), settings.served_model.request_params.stamped
    with rewritten(archive, version, registration, settings) as copy:
        # Before it is there: a number that somebody has seen is never another archive's.
        Versions.of(settings).put(archive.model_name, version, copy.sha256)
        store.put(copy.path, name)
        return copy


@contextlib.contextmanager
def rewritten(
    archive: Archive, version: str, registration: Mapping[str, int], settings: Settings
) -> Iterator[TrustedArchive]:
    """A copy of the archive that nobody else has had in hands, checked anew; it is gone when the block ends.

    Only such a copy goes into a store: its container is written here, and it is the copy that was checked.
    """
    # Not in the system's temporary folder: what a killed run leaves here is cleared by the next one.
    place, name = Path(settings.paths.state) / "rollouts", file_name(archive.model_name, version)
    with explained(place / name), staging_folder(place, f"{archive.model_name}.stamp") as folder:
        target = folder / name
        stamp(archive, version, target, registration)
        yield open_trusted(target, TrustPolicy.of(settings))


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


def stored(served: DeployedVersion, store: Store, settings: Settings) -> TrustedArchive:
    """The archive of a version that took traffic once, checked anew. Raises RolloutError when it is gone."""
    path = store.path(served.archive)
    if path is None:
        raise RolloutError(f"{served.archive} is no longer in the store")
    archive = open_trusted(path, TrustPolicy.of(settings))
    published = Versions.of(settings).get(archive.model_name).get(served.version, archive.sha256)
    if archive.sha256 != published:
        raise RolloutError(f"{path} is not the archive that was published under this name; its sha256 is another")
    return archive
