"""TorchServe 0.12's Inference and Management API: paths, queries and descriptions, each written once.

TorchServe's documentation omits two things: `/models/NAME/all` lists all versions, and a version is deleted by
its path, because TorchServe ignores a `model_version` query there.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from engines.engine_profile import Interface, ModelVersion, WorkerStatus
from settings.schema import RegistrationSettings

PING = "/ping"
MODELS = "/models"
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
    path = f"/predictions/{quote(name, safe='')}"
    return path if version is None else f"{path}/{quote(version, safe='')}"


def renewal_path(interface: Interface) -> str:
    """Return the path that renews a token, called with the API key; the engine writes the new token to its key file."""
    return f"/token?type={interface}"


def registration(name: str, url: str, params: RegistrationSettings, sha256: str | None = None) -> Query:
    """Return the query that registers an archive without workers; `sha256` for an engine that compares archives."""
    batch = {"batch_size": params.batch_size, "max_batch_delay": params.max_batch_delay}
    expected = {} if sha256 is None else {"sha256": sha256}
    return {"url": url, "model_name": name, **batch, "initial_workers": 0, **expected}


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
    )


def _worker_status(entry: Mapping[str, Any]) -> WorkerStatus:
    # A worker that is starting has no process yet; TorchServe then writes -1.
    return WorkerStatus(int(entry.get("pid", -1)), entry.get("status") == "READY", entry.get("startTime"))
