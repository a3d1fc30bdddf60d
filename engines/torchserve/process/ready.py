"""`python -m engines.torchserve.process.ready [FOLDER]`: the health check of TorchServe's container.

Without FOLDER, TorchServe only needs to answer. FOLDER holds one MODEL.json for each model, a list of the versions that
may answer; delivery writes them. TorchServe is ready when each model serves one of them with a worker.

The exit status is 0 or 1. Standard error says why TorchServe is not ready: it is starting, does not answer, or lacks
models.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from engines.torchserve.process.local_api import KEY_FILE, KeyRefused, LocalApi, LocalKeys
from errors import EngineError

PING_S = 4.0


def lacking(folder: Path, local: LocalApi, keys: LocalKeys) -> Iterator[str]:
    """Yield the models without a registered version that may answer, or without a worker."""
    for path in sorted(folder.glob("*.json")):
        found = local.default(path.stem, keys)
        if found is None or found.version not in json.loads(path.read_text()) or not found.ready_workers:
            yield path.stem


def complaint(folder: Path | None, local: LocalApi, key_file: Path) -> str | None:
    """Return why TorchServe is not ready; None when it is."""
    try:
        if local.ping(PING_S) >= 500:
            return "TorchServe does not answer its ping"
    except EngineError as error:
        return str(error) if key_file.exists() else "TorchServe is starting or ending"
    if folder is None:
        return None
    try:
        missing = list(lacking(folder, local, LocalKeys.read(key_file)))
    except KeyRefused:
        return None  # the token has expired, which says nothing about models; gateway and delivery renew it
    except (EngineError, OSError, ValueError, TypeError) as error:
        return str(error)
    return ", ".join(missing) or None


def main(arguments: Sequence[str]) -> int:
    """Check the TorchServe whose key file is in the current folder, and print why it is not ready."""
    folder = Path(arguments[0]) if arguments else None
    reason = complaint(folder, LocalApi(os.environ), Path(KEY_FILE))
    if reason is None:
        return 0
    sys.stderr.write(f"not ready: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
