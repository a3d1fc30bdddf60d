"""TorchServe's description of one version, read into the kit's own."""

from collections.abc import Mapping
from typing import Any

from engines.described import Version, Worker


def version_of(entry: Mapping[str, Any]) -> Version:
    """One entry of `GET /models/NAME/all`. Raises LookupError, TypeError or ValueError for anything else."""
    queue = entry.get("jobQueueStatus") or {}
    return Version(
        model=str(entry["modelName"]),
        version=str(entry["modelVersion"]),
        url=str(entry.get("modelUrl", "")),
        batch_size=int(entry.get("batchSize", 1)),
        max_batch_delay=int(entry.get("maxBatchDelay", 0)),
        min_workers=int(entry.get("minWorkers", 0)),
        max_workers=int(entry.get("maxWorkers", 0)),
        workers=tuple(_worker(worker) for worker in entry.get("workers") or ()),
        pending_requests=int(queue.get("pendingRequests", 0)),
        free=int(queue.get("remainingCapacity", 0)),
    )


def _worker(entry: Mapping[str, Any]) -> Worker:
    # One that is being started has no process yet, which TorchServe writes as -1.
    return Worker(int(entry.get("pid", -1)), entry.get("status") == "READY", entry.get("startTime"))
