"""The archives of what serves and of what could serve again: signed, trained, and no more of them than are kept."""

from pathlib import Path

from archive import open_archive
from delivery.doctor.check import Check
from delivery.doctor.checks.files import others_write
from delivery.doctor.deployment import Deployment
from delivery.doctor.finding import Seen, closed, is_open, not_checked, warning
from delivery.record import History, Record, Served
from delivery.stores import open_store
from delivery.stores.base import VERSIONED
from delivery.trust import open_trusted
from errors import ArchiveError
from settings.schema import LocalStore, NginxStore


def recorded(deployment: Deployment) -> dict[str, History]:
    """What should serve."""
    return Record.of(deployment.settings).all()


def _served(deployment: Deployment) -> list[Served]:
    """What serves, and what a rollback could bring back."""
    return [each for history in recorded(deployment).values() for each in (history.serving, *history.before)]


def _there(deployment: Deployment) -> Seen:
    store, served = open_store(deployment.settings), _served(deployment)
    missing = [each.archive for each in served if store.path(each.archive) is None]
    if missing:
        return is_open(f"a restart or a rollback would miss {', '.join(missing)}")
    return closed(f"{len(served)} recorded, all of them in the store")


def _signed(deployment: Deployment) -> Seen:
    signing = deployment.settings.signing
    if signing.public_key is None:
        return warning("nobody signs: whoever writes into the store decides what runs")
    store, refused = open_store(deployment.settings), []
    paths = [store.path(each.archive) for each in _served(deployment)]
    for path in filter(None, paths):
        try:
            open_trusted(path, deployment.settings)
        except ArchiveError as error:
            refused.append(str(error))
    if refused:
        return is_open("; ".join(refused))
    return (
        closed("what serves and may serve again is signed")
        if signing.required
        else warning("an unsigned archive is taken as well")
    )


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
        case NginxStore() | LocalStore() as store:
            return Path(store.folder)
        case _:
            return None


CHECKS = (
    Check("archives that are gone", "restore the store from its back-up, or make upload_model again", _there),
    Check("archives of strangers", "signing.public_key, signing.required=true", _signed),
    Check("random weights", "make generate_mar with the trained checkpoint, make upload_model", _trained),
    Check("old archives", "remove them; rollout.keep_versions says how many are kept", _kept),
    Check("archive folder that others write", "chmod go-w on store.folder", _writers),
)
