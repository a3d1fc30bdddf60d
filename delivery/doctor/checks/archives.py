"""The archives of what serves and of what could serve again: signed, trained, and no more of them than are kept."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

import psutil
import requests

import engines
from archive import TrustPolicy, open_archive, open_trusted
from delivery.checks import difference
from delivery.doctor.check import Check
from delivery.doctor.checks.files import others_write
from delivery.doctor.deployment import Deployment, Host
from delivery.doctor.finding import Seen, closed, is_open, not_checked, warning
from delivery.doctor.sockets import place
from delivery.publish import PublishedVersions
from delivery.stores import Store, open_store
from delivery.stores.store import VERSIONED, archive_file_name
from deployments.serving import DeployedVersion, ServingRecord, VersionHistory
from engines.engine_profile import ModelVersion
from errors import ArchiveError, MarinaError
from settings import Settings
from settings.schema import LocalStoreSettings, NginxStoreSettings


def recorded(deployment: Deployment) -> dict[str, VersionHistory]:
    """What should serve."""
    return ServingRecord.of(deployment.settings).all()


def _served(deployment: Deployment) -> list[DeployedVersion]:
    """What serves, and what a rollback could bring back."""
    return [each for history in recorded(deployment).values() for each in (history.serving, *history.before)]


def _there(deployment: Deployment) -> Seen:
    store, served = open_store(deployment.settings), _served(deployment)
    missing = [each.archive for each in served if store.path(each.archive) is None]
    if missing:
        return is_open(f"a restart or a rollback would miss {', '.join(missing)}")
    return closed(f"{len(served)} recorded, all of them in the store")


def _strangers(deployment: Deployment) -> Seen:
    """Judge by their bytes what the store holds for the recorded versions, and what is registered with the engines."""
    settings, store = deployment.settings, open_store(deployment.settings)
    refused = [words for each in _served(deployment) if (words := not_trusted(each.archive, store, settings))]
    unseen = []
    for host in deployment.hosts:
        try:
            for version in host.versions:
                words = not_published(version, folders(version, host), store, settings)
                refused += [words] if words and words not in refused else []
        except (MarinaError, requests.RequestException) as error:
            unseen.append(f"{host.name}: {error}")
    if refused:
        return is_open("; ".join(refused))
    if settings.signing.public_key is None:
        return warning("nobody signs: whoever writes into the store decides what runs")
    if not settings.signing.required:
        return warning("an unsigned archive is taken as well")
    if unseen:
        return not_checked(f"what the store holds is signed; what is registered is not seen: {'; '.join(unseen)}")
    return closed("what serves and may serve again is signed")


def not_trusted(name: str, store: Store, settings: Settings) -> str | None:
    """Return why an archive of the store is not to be run; None for one that is, or is not there."""
    path = store.path(name)
    try:
        if path is not None:
            open_trusted(path, TrustPolicy.of(settings))
    except ArchiveError as error:
        return str(error)
    return None


def not_published(version: ModelVersion, copies: Iterable[Path], store: Store, settings: Settings) -> str | None:
    """Return why a registered version does not run what this kit has published under its number; None if it does.

    `copies` are the folders that its workers run from.
    """
    name = archive_file_name(version.model, version.version)
    path = store.path(name) if VERSIONED.fullmatch(name) else None
    if path is None:
        return f"{version.model} {version.version} is registered and not in the store"
    try:
        archive = open_trusted(path, TrustPolicy.of(settings))
    except ArchiveError as error:
        return str(error)
    if PublishedVersions.of(settings).get(version.model).get(version.version, archive.sha256) != archive.sha256:
        return f"{path} is not the archive that was published under this name"
    differences = (difference(folder, archive, running=True) for folder in copies)
    found = next(filter(None, differences), None)
    return found and f"a worker of {version.model} {version.version} does not run what was published: {found}"


def folders(version: ModelVersion, host: Host) -> list[Path]:
    """The folders from which the workers of a version run; none where they are another machine's or another user's.

    An engine that compares archives itself keeps other files beside them.
    """
    if engines.profile(host.deployment.settings).compares_archives:
        return []
    if not host.deployment.sockets.is_here(place(host.node.management_url)[0]):
        return []
    found = set()
    for pid in version.pids:
        with contextlib.suppress(psutil.Error):
            found.add(Path(psutil.Process(pid).cwd()))
    return sorted(found)


def _trained(deployment: Deployment) -> Seen:
    store = open_store(deployment.settings)
    found = {model: store.path(history.serving.archive) for model, history in recorded(deployment).items()}
    random = [model for model, path in found.items() if path and open_archive(path).card.get("weights") == "random"]
    return warning(f"random weights answer: {', '.join(random)}") if random else closed("what serves is trained")


def _kept(deployment: Deployment) -> Seen:
    folder = _folder(deployment)
    if folder is None:
        return not_checked("a bucket is not listed; its own life-cycle rules clear it")
    known = {each.archive for each in _served(deployment)}
    old = [path for path in folder.glob("*.mar") if VERSIONED.fullmatch(path.name) and path.name not in known]
    if not old:
        return closed("only what serves or may serve again")
    size, names = sum(path.stat().st_size for path in old) / 1e6, ", ".join(sorted(path.name for path in old)[:3])
    return warning(f"{len(old)} in no record, {size:.0f} MB: {names}")


def _writers(deployment: Deployment) -> Seen:
    folder = _folder(deployment)
    return others_write(folder) if folder else not_checked("the bucket's own policy says who writes")


def _folder(deployment: Deployment) -> Path | None:
    match deployment.settings.store:
        case NginxStoreSettings() | LocalStoreSettings() as store:
            return Path(store.folder)
        case _:
            return None


CHECKS = (
    Check("archives that are gone", "restore the store from its back-up, or make upload_model again", _there),
    Check("archives of strangers", "signing.public_key, signing.required=true", _strangers),
    Check("random weights", "make generate_mar with the trained checkpoint, make upload_model", _trained),
    Check("old archives", "remove them; rollout.keep_versions says how many are kept", _kept),
    Check("archive folder that others write", "chmod go-w on store.folder", _writers),
)
