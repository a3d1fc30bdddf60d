"""Archives in the store: their version numbers, how they are published, and how they are read again.

built_archive ──▶ next_free_version ──▶ publish: stamp, check, enter its number, store ──▶ published_archive

A version number is the archive's own when it is higher than any before, otherwise the next one. `versions.json` in the
state folder lists each number that was ever published, with the sha256 of its archive. It keeps a number when the
archive is pruned, the model removed or the engine restarted. If the file is lost, the store, the record and the engine
still know most numbers; one that none of them knows may be used again.
"""

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from archive import Archive, TrustedArchive, TrustPolicy, open_archive, open_trusted, stamp, stamped
from archive.manifest import VERSION
from delivery.stores import Store
from delivery.stores.store import archive_file_name
from deployments.serving import DeployedVersion, ServingRecord
from errors import ArchiveError, ConfigError, RolloutError, StoreError
from files import explained, read_text, replacing, staging_folder
from settings import Settings
from settings.config_errors import is_typed
from settings.schema import AdoptedModel


class PublishedVersions:
    """`versions.json`: every version that was published. Every change replaces the whole file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, settings: Settings) -> "PublishedVersions":
        """Return the versions in the state folder of these settings."""
        return cls(Path(settings.paths.state) / "versions.json")

    def get(self, model: str) -> dict[str, str]:
        """Return the sha256 of each published version of a model. Raises StoreError for a damaged file."""
        return self._all().get(model, {})

    def put(self, model: str, version: str, sha256: str) -> None:
        """Enter a version before it is published. Raises StoreError when the file cannot be written."""
        with replacing(self._path) as replace:
            entries = self._all()
            entries.setdefault(model, {})[version] = sha256
            replace(json.dumps(entries, indent=2))

    def _all(self) -> dict[str, dict[str, str]]:
        try:
            text = read_text(self._path)
            content: dict[str, Any] = {} if text is None else json.loads(text)
            return {model: {str(key): str(value) for key, value in found.items()} for model, found in content.items()}
        except (ValueError, AttributeError):
            raise StoreError(
                f"{self._path} is damaged; restore it from a backup, or delete it: numbers of removed archives may"
                " then be used again"
            ) from None


def built_archive(loaded: Settings, overrides: Sequence[str]) -> Path:
    """Return the path of the archive that was built of the chosen model.

    Raises StoreError where there is none, and ConfigError where `overrides` ask for another version than that of the
    build.
    """
    name = loaded.served_model.model_name
    adopted = isinstance(loaded.served_model, AdoptedModel)
    remedy = "make adopt MAR_FILE=... SAMPLES=..." if adopted else f"make generate_mar MODEL={name}"
    path = Path(loaded.paths.archives) / f"{name}.mar"
    if not path.is_file():
        raise StoreError(f"no archive {path}; `{remedy}` makes it")
    if is_typed("served_model.version", overrides):
        wanted, built = loaded.served_model.version, open_archive(path).version
        if wanted != built:
            kept = "an adopted archive keeps its version"
            built_anew = f"`{remedy} ARGS=served_model.version={wanted}` builds that one"
            raise ConfigError(f"{path} is version {built}, not {wanted}; {kept if adopted else built_anew}")
    return path


def next_free_version(archive: Archive, registered: Collection[str], store: Store, settings: Settings) -> str:
    """Return the version of an archive; `registered` are the engine's versions of the model."""
    return next_version(archive.version, used_versions(archive.model_name, registered, store, settings))


def used_versions(model: str, registered: Collection[str], store: Store, settings: Settings) -> set[str]:
    """Return every version of a model that the engine, the store, the record or `versions.json` knows.

    A version that others registered may have another form, such as 1e3; no version of an archive equals it.
    """
    history = ServingRecord.of(settings).get(model)
    recorded = {served.version for served in history.versions} if history else set()
    published = {*store.versions(model), *recorded, *PublishedVersions.of(settings).get(model)}
    return published | {version for version in registered if VERSION.fullmatch(version)}


def next_version(wanted: str, taken: Collection[str]) -> str:
    """Return `wanted` if it is higher than all taken versions of its series, else the next: 1.0, 1.1, 1.2, ..."""
    series, number = _parts(wanted)
    highest = max((last for head, last in map(_parts, taken) if head == series), default=-1)
    return wanted if number > highest else ".".join([*series, str(highest + 1)])


def version_order(version: str) -> list[int]:
    """Return the key that sorts versions by their numbers: 1.9 before 1.10, and those of another form first."""
    return [int(part) for part in version.split(".")] if VERSION.fullmatch(version) else []


def _parts(version: str) -> tuple[tuple[str, ...], int]:
    *series, number = version.split(".")
    return tuple(series), int(number)


def publish(archive: Archive, version: str, store: Store, settings: Settings) -> Archive:
    """Store the archive, stamped with version and registration settings, and return the published one."""
    registration = settings.served_model.request_params.stamped
    with stamped_copy(archive, version, registration, settings) as copy:
        # The number is entered first, so that a published number never belongs to two archives.
        PublishedVersions.of(settings).put(archive.model_name, version, copy.sha256)
        store.put(copy.path, archive_file_name(archive.model_name, version))
        return copy


@contextlib.contextmanager
def stamped_copy(
    archive: Archive, version: str, registration: Mapping[str, int], settings: Settings
) -> Iterator[TrustedArchive]:
    """Write a copy of the archive that no other process can change, and check it; it is gone when the block ends.

    Only such a copy is put into a store, because its container is written here and it is the checked copy.
    """
    # Not in the system's temporary folder: here the next run clears the files of a killed one.
    folder, name = Path(settings.paths.state) / "rollouts", archive_file_name(archive.model_name, version)
    with explained(folder / name, archive.size), staging_folder(folder, f"{archive.model_name}.stamp") as staging:
        target = staging / name
        stamp(archive, version, target, registration)
        yield open_trusted(target, TrustPolicy.of(settings))


def same_content(archive: Archive, registration: Mapping[str, int], name: str, store: Store) -> bool:
    """Return True if the store holds this content under `name`, stamped with this registration.

    An archive with the signature of another key is different, and so is one that cannot be read, as an earlier release
    may have published.
    """
    path = store.path(name)
    if path is None:
        return False
    try:
        found = open_archive(path)
    except ArchiveError:
        return False
    same_signature = archive.signature_sha256 in {None, found.signature_sha256}
    return same_signature and found.content_sha256 == archive.content_sha256 and stamped(found) == registration


def published_archive(served: DeployedVersion, store: Store, settings: Settings) -> TrustedArchive:
    """Open and check the archive of a version that has served. Raises RolloutError when it is gone or was replaced."""
    path = store.path(served.archive)
    if path is None:
        raise RolloutError(f"{served.archive} is no longer in the store")
    archive = open_trusted(path, TrustPolicy.of(settings))
    published = PublishedVersions.of(settings).get(archive.model_name).get(served.version, archive.sha256)
    if archive.sha256 != published:
        raise RolloutError(f"{path} is not the archive that was published under this name; its sha256 is different")
    return archive
