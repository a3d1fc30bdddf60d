"""TorchServe 0.12's Inference and Management API: paths, queries and descriptions, each written once.

TorchServe's documentation omits two things: `/models/NAME/all` lists all versions, and a version is deleted by
its path, because TorchServe ignores a `model_version` query there.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from engines.engine_profile import Interface, ModelVersion, WorkerStatus

if TYPE_CHECKING:  # TorchServe's first process uses this module without the settings
    from settings.schema import RegistrationSettings

PING = "/ping"
PREDICTIONS, EXPLANATIONS = "/predictions", "/explanations"
MODELS = "/models"
WORKFLOWS = "/workflows"
PAGE_SIZE = 100  # models a page, TorchServe's maximum

Query = Mapping[str, str | int]


def page_path(start: str) -> str:
    """Return the path of one page of the list of models. The first page starts at 0; each names the next start."""
    return f"{MODELS}?limit={PAGE_SIZE}&next_page_token={start}"


def model_path(name: str, version: str | None = None) -> str:
    """Return the path of one version of a model, the default version for None."""
    path = f"{MODELS}/{quote(name, safe='')}"
    return path if version is None else f"{path}/{quote(version, safe='')}"


def versions_path(name: str) -> str:
    """Return the path of all versions of a model."""
    return f"{model_path(name)}/all"


def card_path(name: str, version: str) -> str:
    """Return the path of a version's description with the handler's part, which the engine requests from a worker."""
    return f"{model_path(name, version)}?customized=true"


def default_path(name: str, version: str) -> str:
    """Return the path that makes a version the default one."""
    return f"{model_path(name, version)}/set-default"


def prediction_path(name: str, version: str | None) -> str:
    """Return the path of a version's predictions, the default version for None.

    Names are quoted, so that none of them can end a request line.
    """
    return _inference_path(PREDICTIONS, name, version)


def explanation_path(name: str, version: str | None) -> str:
    """Return the path of a version's explanations, the default version for None."""
    return _inference_path(EXPLANATIONS, name, version)


def _inference_path(route: str, name: str, version: str | None) -> str:
    path = f"{route}/{quote(name, safe='')}"
    return path if version is None else f"{path}/{quote(version, safe='')}"


def renewal_path(interface: Interface) -> str:
    """Return the path that renews a token, called with the API key; the engine writes the new token to its key file."""
    return f"/token?type={interface}"


def registration(
    name: str, url: str, params: "RegistrationSettings", response_timeout_s: int, sha256: str | None = None
) -> Query:
    """Return the query that registers an archive without workers.

    `response_timeout_s` is for a model without one of its own, and `sha256` for an engine that compares archives.
    """
    batch = {"batch_size": params.batch_size, "max_batch_delay": params.max_batch_delay}
    timeout = {"response_timeout": params.response_timeout or response_timeout_s}
    compared = {} if sha256 is None else {"sha256": sha256}
    return {"url": url, "model_name": name, **batch, "initial_workers": 0, **timeout, **compared}


def scaling(workers: int) -> Query:
    """Return the query that sets the number of workers; the response comes when they have loaded the model."""
    return {"min_worker": workers, "max_worker": workers, "synchronous": "true"}


def model_version(entry: Mapping[str, Any]) -> ModelVersion:
    """Read one entry of `GET /models/NAME/all`. Raises LookupError, TypeError or ValueError for anything else."""
    queue = entry.get("jobQueueStatus") or {}
    return ModelVersion(
        model=str(entry["modelName"]),
        version=str(entry["modelVersion"]),
        url=str(entry.get("modelUrl", "")),
        batch_size=int(entry.get("batchSize", 1)),
        max_batch_delay=int(entry.get("maxBatchDelay", 0)),
        min_workers=int(entry.get("minWorkers", 0)),
        max_workers=int(entry.get("maxWorkers", 0)),
        workers=tuple(_worker_status(worker) for worker in entry.get("workers") or ()),
        pending_requests=int(queue.get("pendingRequests", 0)),
        free=int(queue.get("remainingCapacity", 0)),
        response_timeout=_seconds(entry, "responseTimeout"),
        startup_timeout=_seconds(entry, "startupTimeout"),
    )


def _seconds(entry: Mapping[str, Any], key: str) -> int | None:
    return int(entry[key]) if key in entry else None


def damaged_key_file(path: Path, title: str) -> str:
    """Return what is wrong with a key file that cannot be read as one: a full disk leaves it empty."""
    try:
        if path.stat().st_size == 0:
            room = os.statvfs(path)
            return f"{path} is empty; its disk has {room.f_bavail * room.f_frsize:,} bytes free"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return f"{path} is not a {title} key file"


def _worker_status(entry: Mapping[str, Any]) -> WorkerStatus:
    # A worker that is starting has no process yet; TorchServe then writes -1.
    return WorkerStatus(int(entry.get("pid", -1)), entry.get("status") == "READY", entry.get("startTime"))
