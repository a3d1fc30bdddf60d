"""Records of rollouts, the archives that they name, and the store that holds these archives."""

import contextlib
import fcntl
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import requests

import engines
from archive import TrustPolicy, open_archive, open_trusted
from delivery.checks import difference
from delivery.doctor import probes
from delivery.doctor.check import Check, Result, closed, is_open, not_checked, warning
from delivery.doctor.deployment import Deployment, ExaminedHost
from delivery.doctor.probes import others_read, others_write, reach
from delivery.journal import Journal, JournalEntry
from delivery.model_keeper import heartbeats
from delivery.publish import PublishedVersions
from delivery.sockets import host_and_port
from delivery.stores import Store, open_store
from delivery.stores.store import VERSIONED, archive_file_name
from deployments.serving import DeployedVersion, ServingRecord
from engines.engine_profile import ModelVersion
from errors import ArchiveError, MarinaError, StoreError
from settings import Settings
from settings.load import ROOT
from settings.schema import LocalStoreSettings, NginxStoreSettings, S3StoreSettings

STALE_S = 60.0  # the keeper touches its file every few seconds


def _record(deployment: Deployment) -> Result:
    try:
        found = ServingRecord.of(deployment.settings).all()
    except StoreError as error:
        return is_open(str(error))
    return closed(", ".join(f"{model} {history.serving.version}" for model, history in found.items()) or "empty")


def _killed(deployment: Deployment) -> Result:
    left, running = list[str](), list[str]()
    folder = deployment.state / "rollouts"
    # Hidden folders hold unfinished journals, which the next rollout removes.
    for path in sorted(each for each in folder.glob("**/*.json") if not each.parent.name.startswith(".")):
        words = _unfinished(deployment, path)
        (running if _is_held(folder / f"{path.stem}.lock") else left).append(words)
    if left:
        return is_open(", ".join(left))
    return closed(f"under way: {', '.join(running)}" if running else "none")


def _unfinished(deployment: Deployment, path: Path) -> str:
    node = "" if path.parent.name == "rollouts" else path.parent.name
    try:
        entry: JournalEntry | None = Journal.of(deployment.settings, path.stem, node).read()
    except StoreError as error:
        return str(error)
    if entry is None:  # it has just ended
        return f"{path.stem} has just ended"
    return f"{entry.model} {entry.new.version} at step '{entry.step}'{f' on {node}' if node else ''}"


def _is_held(lock: Path) -> bool:
    """Return True while a rollout of the model runs."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _keeper(deployment: Deployment) -> Result:
    beats = [path.stat().st_mtime for path in heartbeats(deployment.settings) if path.is_file()]
    if not beats:
        return not_checked("no keeper has run here; `make up` starts one for its own stack")
    age = time.time() - max(beats)
    if age > STALE_S:
        return warning(f"no activity for {age:.0f} s: models are not registered again when TorchServe restarts")
    return closed(f"active {age:.0f} s ago")


def _state_writers(deployment: Deployment) -> Result:
    return others_write(deployment.state)


ROLLOUTS = (
    Check("record of what serves", "delete serving.json, then make upload_model for each model", _record),
    Check("rollouts that were killed", "make upload_model MODEL=name: it finishes or undoes them first", _killed),
    Check("keeper of the models", "python -m delivery keep, as a service", _keeper),
    Check("state folder that others write", "chmod go-w on MARINA_STATE", _state_writers),
)


def _served(deployment: Deployment) -> list[DeployedVersion]:
    """Return the versions that serve and those that a rollback could restore."""
    return [each for history in deployment.recorded.values() for each in (history.serving, *history.before)]


def _stored(deployment: Deployment) -> Result:
    store, served = open_store(deployment.settings), _served(deployment)
    missing = [each.archive for each in served if store.path(each.archive) is None]
    if missing:
        return is_open(f"a restart or a rollback would miss {', '.join(missing)}")
    return closed(f"{len(served)} recorded, all of them in the store")


def _trusted(deployment: Deployment) -> Result:
    """Verify the archives of the recorded versions and those of the registered ones, by their bytes."""
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
        return warning("archives are unsigned: anybody who can write to the store decides what runs")
    if not settings.signing.required:
        return warning("unsigned archives are accepted too")
    if unseen:
        return not_checked(f"what the store holds is signed; what is registered is not seen: {'; '.join(unseen)}")
    return closed("what serves and may serve again is signed")


def not_trusted(name: str, store: Store, settings: Settings) -> str | None:
    """Return the reason not to run an archive of the store; None for a trusted or a missing one."""
    path = store.path(name)
    try:
        if path is not None:
            open_trusted(path, TrustPolicy.of(settings))
    except ArchiveError as error:
        return str(error)
    return None


def not_published(version: ModelVersion, copies: Iterable[Path], store: Store, settings: Settings) -> str | None:
    """Return the reason why a registered version is not the published one; None when it is.

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


def folders(version: ModelVersion, host: ExaminedHost) -> list[Path]:
    """Return the folders from which the workers of a version run; none on another machine or of another user.

    An engine that compares archives itself keeps other files beside them.
    """
    if engines.profile(host.deployment.settings).compares_archives:
        return []
    if not host.deployment.sockets.is_here(host_and_port(host.node.management_url)[0]):
        return []
    found = set()
    for pid in version.pids:
        with contextlib.suppress(psutil.Error):
            found.add(Path(psutil.Process(pid).cwd()))
    return sorted(found)


def _trained(deployment: Deployment) -> Result:
    store = open_store(deployment.settings)
    found = {model: store.path(history.serving.archive) for model, history in deployment.recorded.items()}
    random = [model for model, path in found.items() if path and open_archive(path).card.get("weights") == "random"]
    return warning(f"random weights answer: {', '.join(random)}") if random else closed("what serves is trained")


def _kept(deployment: Deployment) -> Result:
    folder = _folder(deployment)
    if folder is None:
        return not_checked("buckets are not listed; their own life-cycle rules clear them")
    known = {each.archive for each in _served(deployment)}
    old = [path for path in folder.glob("*.mar") if VERSIONED.fullmatch(path.name) and path.name not in known]
    if not old:
        return closed("only what serves or may serve again")
    size, names = sum(path.stat().st_size for path in old) / 1e6, ", ".join(sorted(path.name for path in old)[:3])
    return warning(f"{len(old)} in no record, {size:.0f} MB: {names}")


def _archive_writers(deployment: Deployment) -> Result:
    folder = _folder(deployment)
    return others_write(folder) if folder else not_checked("the bucket's own policy says who writes")


def _folder(deployment: Deployment) -> Path | None:
    match deployment.settings.store:
        case NginxStoreSettings() | LocalStoreSettings() as store:
            return Path(store.folder)
        case _:
            return None


ARCHIVES = (
    Check("archives that are gone", "restore the store from its back-up, or make upload_model again", _stored),
    Check("archives of unknown makers", "signing.public_key, signing.required=true", _trusted),
    Check("random weights", "make generate_mar with the trained checkpoint, make upload_model", _trained),
    Check("old archives", "remove them; rollout.keep_versions says how many are kept", _kept),
    Check("archive folder that others write", "chmod go-w on store.folder", _archive_writers),
)

# These statuses mean: send the body, created, exists already, too large. The server gives them only without requiring a
# key.
TAKEN = {None, 200, 201, 204, 409, 413}
NOT_SERVED = not_checked("a folder; nothing serves it")


def _store_answers(deployment: Deployment) -> Result:
    match deployment.settings.store:
        case NginxStoreSettings(url=url) | S3StoreSettings(endpoint=url):
            return closed(url) if probes.answers(url) else is_open(f"nothing answers at {url}")
        case _:
            return NOT_SERVED


def _readers(deployment: Deployment) -> Result:
    match deployment.settings.store:
        case NginxStoreSettings() as store:
            listed = probes.plain("GET", f"{store.url}/files/").ok
            words = "other machines read every archive" + (", and a list of them" if listed else "")
            return reach(deployment.sockets, store.host, store.port, wide=is_open(words))
        case S3StoreSettings() as bucket:
            answer = probes.plain("GET", f"{bucket.endpoint}/{bucket.bucket}")
            return is_open("the bucket is listed without a key") if answer.ok else closed("refused without a key")
        case _:
            return NOT_SERVED


def _uploads(deployment: Deployment) -> Result:
    match deployment.settings.store:
        case NginxStoreSettings(url=url):
            place = f"{url}/files/{probes.UNUSED_NAME}-0.mar"
        case S3StoreSettings(endpoint=endpoint, bucket=bucket):
            place = f"{endpoint}/{bucket}/{probes.UNUSED_NAME}-0.mar"
        case _:
            return NOT_SERVED
    # The body is never sent, so nothing is written even where the upload is accepted.
    status = probes.announce("PUT", place)
    if status in TAKEN:
        return is_open("anybody who reaches it may upload archives without a key")
    return closed(f"an upload without a key is refused (status {status})")


def _store_key(deployment: Deployment) -> Result:
    match deployment.settings.store:
        case NginxStoreSettings(put_key_file=str(path)) | S3StoreSettings(credentials=path):
            return others_read(ROOT / path)
        case _:
            return closed("it has none")


def _encrypted(deployment: Deployment) -> Result:
    match deployment.settings.store:
        case NginxStoreSettings(url=url) | S3StoreSettings(endpoint=url):
            parts = urlsplit(url)
            safe = parts.scheme == "https" or deployment.sockets.is_here(parts.hostname or "")
            return closed(url) if safe else warning(f"{url}: archives and keys are sent unencrypted")
        case _:
            return NOT_SERVED


STORE = (
    Check("it answers", "make up", _store_answers, comes_first=True),
    Check("archives for everybody", "store.host=127.0.0.1, or a private network", _readers),
    Check("uploads without a key", "store.accept_put=false, store.put_key_file; the policy of the bucket", _uploads),
    Check("its key, read by others", "chmod 600 on store.put_key_file, store.credentials", _store_key),
    Check("archives sent unencrypted", "store.endpoint=https://...", _encrypted),
)
