"""The records of rollouts: what was killed half way or is damaged, and whether somebody keeps the models."""

import fcntl
import time
from pathlib import Path

from delivery.doctor.check import Check
from delivery.doctor.checks.files import others_write
from delivery.doctor.deployment import Deployment
from delivery.doctor.finding import Seen, closed, is_open, not_checked, warning
from delivery.journal import Journal, JournalEntry
from delivery.model_keeper import HEARTBEAT
from deployments.serving import ServingRecord
from errors import StoreError

STALE_S = 60.0  # the keeper touches its file every few seconds


def _record(deployment: Deployment) -> Seen:
    try:
        found = ServingRecord.of(deployment.settings).all()
    except StoreError as error:
        return is_open(str(error))
    return closed(", ".join(f"{model} {history.serving.version}" for model, history in found.items()) or "empty")


def _killed(deployment: Deployment) -> Seen:
    left, running = list[str](), list[str]()
    folder = deployment.state / "rollouts"
    # Hidden folders hold half-written journals, which the next rollout clears.
    for path in sorted(each for each in folder.glob("**/*.json") if not each.parent.name.startswith(".")):
        words = _journal(deployment, path)
        (running if _is_held(folder / f"{path.stem}.lock") else left).append(words)
    if left:
        return is_open(", ".join(left))
    return closed(f"under way: {', '.join(running)}" if running else "none")


def _journal(deployment: Deployment, path: Path) -> str:
    node = "" if path.parent.name == "rollouts" else path.parent.name
    try:
        entry: JournalEntry | None = Journal.of(deployment.settings, path.stem, node).read()
    except StoreError as error:
        return str(error)
    if entry is None:  # it ended between two looks
        return f"{path.stem} has just ended"
    return f"{entry.model} {entry.new.version} at step '{entry.step}'{f' on {node}' if node else ''}"


def _is_held(lock: Path) -> bool:
    """Whether a rollout of the model runs at this moment."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _keeper(deployment: Deployment) -> Seen:
    path = deployment.state / HEARTBEAT
    if not path.is_file():
        return not_checked("no keeper has run here; `make up` restores the models of a stack of its own")
    age = time.time() - path.stat().st_mtime
    if age > STALE_S:
        return warning(f"no sign of it for {age:.0f} s: nobody registers models again when TorchServe restarts")
    return closed(f"a sign of it {age:.0f} s ago")


def _state(deployment: Deployment) -> Seen:
    return others_write(deployment.state)


CHECKS = (
    Check("record of what serves", "delete serving.json, then make upload_model for each model", _record),
    Check("rollouts that were killed", "make upload_model MODEL=name: it finishes or undoes them first", _killed),
    Check("keeper of the models", "python -m delivery keep, as a service", _keeper),
    Check("state folder that others write", "chmod go-w on MARINA_STATE", _state),
)
