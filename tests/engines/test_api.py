"""What TorchServe describes is read whole, and what is missing has its usual value."""

from typing import Any

import pytest

from engines.engine_profile import ModelVersion, WorkerStatus
from engines.torchserve.api import model_version
from settings.schema import RegistrationSettings

ENTRY: dict[str, Any] = {
    "modelName": "digits",
    "modelVersion": "1.2",
    "modelUrl": "http://127.0.0.1:5002/files/digits-1.2.mar?signature=secret",
    "batchSize": 16,
    "maxBatchDelay": 5,
    "minWorkers": 2,
    "maxWorkers": 3,
    "workers": [
        {"pid": 11, "status": "READY", "startTime": "2026-11-21T08:00:02.000Z"},
        {"pid": 10, "status": "READY", "startTime": "2026-11-21T08:00:01.000Z"},
        {"pid": -1, "status": "UNLOADING", "startTime": "2026-11-21T08:00:03.000Z"},
    ],
    "jobQueueStatus": {"pendingRequests": 4, "remainingCapacity": 996},
}


def test_model_version_reads_registration_and_workers() -> None:
    found = model_version(ENTRY)
    assert (found.model, found.version, found.archive) == ("digits", "1.2", "digits-1.2.mar")
    assert (found.batch_size, found.max_batch_delay, found.min_workers, found.max_workers) == (16, 5, 2, 3)
    assert (found.pending_requests, found.free) == (4, 996)
    assert found.workers[2] == WorkerStatus(-1, ready=False, started="2026-11-21T08:00:03.000Z")
    assert (found.pids, found.ready_workers) == (frozenset({10, 11}), 2)
    assert found.started == "2026-11-21T08:00:01.000Z"
    assert found.has(RegistrationSettings(batch_size=16, max_batch_delay=5, initial_workers=2))
    assert not found.has(RegistrationSettings(batch_size=8, max_batch_delay=5, initial_workers=2))
    same = RegistrationSettings(batch_size=16, max_batch_delay=5, initial_workers=2, response_timeout=60)
    assert not found.has(same)
    assert model_version(ENTRY | {"responseTimeout": 60}).has(same)


def test_model_version_without_workers_and_queue_is_read() -> None:
    found = model_version({"modelName": "digits", "modelVersion": "1.0"})
    assert found == ModelVersion("digits", "1.0", "", 1, 0, 0, 0, (), 0, 0)
    assert found.started is None


@pytest.mark.parametrize("entry", [{}, {"modelName": "digits"}, ENTRY | {"batchSize": "many"}])
def test_model_version_refuses_another_document(entry: dict[str, Any]) -> None:
    with pytest.raises((LookupError, ValueError)):
        model_version(entry)
