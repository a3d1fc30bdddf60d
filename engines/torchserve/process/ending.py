"""An orderly end: TorchServe refuses new requests and answers those that it has accepted.

TorchServe itself does not drain. It checks the token of a request before it accepts the request, so new tokens that
nobody else knows stop new requests at once. Gateways no longer find a key file; they send their requests to another
host, or answer 503 with `Retry-After`. Then `engines.torchserve.drain` waits for every worker.
"""

import logging
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engines.engine_profile import ModelVersion
from engines.torchserve.drain import Probe, wait_until_drained
from engines.torchserve.process.local_api import KEY_FILE, LocalApi, LocalKeys
from errors import EngineError
from logs import event

_log = logging.getLogger(__name__)

POLL_S = 0.05
THREADS = 8
# Without its keys, nobody knows what TorchServe still does. This is the gateway's default deadline of a request.
BLIND_S = 10.0


def drain(local: LocalApi, key_file: Path, known: LocalKeys | None, timeout_s: float) -> None:
    """Stop new requests and wait at most `timeout_s` seconds until the accepted ones are answered.

    `known` are the keys that the file had; it may have been lost since.
    """
    began = time.monotonic()
    deadline = began + timeout_s
    try:
        keys = _take_keys(local, key_file, known or LocalKeys.read(key_file))
        versions = _with_empty_queues(local, keys, deadline)
    except EngineError as error:
        event(_log, logging.WARNING, "drain_failed", reason=str(error))
        return
    if keys is None:
        time.sleep(max(0.0, min(BLIND_S, deadline - time.monotonic())))
        return
    with ThreadPoolExecutor(THREADS, "drain") as threads:
        drained = list(threads.map(lambda version: _drain_version(local, keys, version, deadline), versions))
    level = logging.INFO if all(drained) else logging.WARNING
    event(_log, level, "drained", complete=all(drained), seconds=round(time.monotonic() - began, 1))


def _take_keys(local: LocalApi, key_file: Path, before: LocalKeys) -> LocalKeys | None:
    """Replace both tokens and return them; nobody else can read them. Returns None when they cannot be written.

    TorchServe writes the new tokens through a link into this container's temporary folder. The tokens change even when
    it cannot write them.
    """
    private = Path(tempfile.gettempdir()) / f"draining-{KEY_FILE}"
    try:
        private.touch(mode=0o600)
        key_file.unlink(missing_ok=True)
        key_file.symlink_to(private)
        # Both tokens must change, also when the first cannot be written.
        written = [local.renew("inference", before), local.renew("management", before)]
        if all(written):
            return LocalKeys.read(private)
        event(_log, logging.WARNING, "drain_without_keys", reason=f"TorchServe could not write to {private.parent}")
        return None
    except OSError as error:
        raise EngineError(f"{key_file} cannot be replaced: {error.strerror}") from None
    finally:
        key_file.unlink(missing_ok=True)
        private.unlink(missing_ok=True)


def _with_empty_queues(local: LocalApi, keys: LocalKeys | None, deadline: float) -> Sequence[ModelVersion]:
    """Return all versions when no request waits for a worker and every batch is closed.

    A probe in a batch of requests could fail all of them with a handler that is not the project's.
    """
    if keys is None:
        return ()
    while True:
        versions = local.versions(keys)
        # Nothing answers requests to a version without workers.
        working = [version for version in versions if version.workers]
        if time.monotonic() >= deadline or not any(version.pending_requests for version in working):
            break
        time.sleep(POLL_S)
    delays = [version.max_batch_delay / 1000 for version in working if version.batch_size > 1]
    time.sleep(max(0.0, min(max(delays, default=0.0), deadline - time.monotonic())))
    return working


def _drain_version(local: LocalApi, keys: LocalKeys, version: ModelVersion, deadline: float) -> bool:
    probe = Probe(
        version,
        lambda: local.version(version.model, version.version, keys),
        lambda timeout_s: local.probe(version, keys, timeout_s),
    )
    return wait_until_drained(probe, max(0.0, deadline - time.monotonic()))
