"""Versions as TorchServe's Management API describes them."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from engines.ray.cluster import Replica
from engines.ray.table import Entry


def described(entry: Entry, workers: Sequence[Replica], inside: int, queue_size: int) -> dict[str, Any]:
    """One version; `inside` counts the requests that wait or are with a worker."""
    registration = entry.registration
    busy = min(inside, sum(worker.ready for worker in workers) * registration.batch_size)
    return {
        "modelName": registration.model,
        "modelVersion": registration.version,
        "modelUrl": registration.url,
        "runtime": "python",
        "minWorkers": entry.min_workers,
        "maxWorkers": entry.max_workers,
        "batchSize": registration.batch_size,
        "maxBatchDelay": registration.max_batch_delay,
        "responseTimeout": registration.response_timeout_s,
        "loadedAtStartup": False,
        "workers": [_worker(each) for each in workers],
        "jobQueueStatus": {
            "remainingCapacity": max(0, queue_size - inside),
            "pendingRequests": max(0, inside - busy),
        },
    }


def _worker(replica: Replica) -> dict[str, Any]:
    started = datetime.fromtimestamp(replica.started, UTC).isoformat(timespec="milliseconds")
    return {
        # TorchServe numbers its workers; these have names, and a number that follows from the name.
        "id": str(int(hashlib.sha256(replica.replica_id.encode()).hexdigest()[:8], 16)),
        "startTime": started.replace("+00:00", "Z"),
        "status": "READY" if replica.ready else "UNLOADING",
        "pid": replica.pid,
        "node": replica.node,
        "gpu": False,
    }
