"""`python ready.py FOLDER`: exits with 0 when this TorchServe has the models that are recorded as serving, else with 1.

FOLDER holds one MODEL.json for each model, a list of the versions that may answer; delivery writes them. Without any,
TorchServe only needs to answer. The program runs in TorchServe's container, beside its key file, with the standard
library only.
"""

import http.client
import json
import os
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TIMEOUT_S = 4.0
REFUSED = 400  # TorchServe's status for an invalid key


def lacking(folder: Path, key: str, address: str) -> Iterator[str]:
    """Yield the models without a registered version that may answer, or without a worker."""
    for path in sorted(folder.glob("*.json")):
        found = _described(path.stem, key, address)
        if found is None:
            return
        ready = any(worker["status"] == "READY" for worker in found.get("workers", ()))
        if found.get("modelVersion") not in json.loads(path.read_text()) or not ready:
            yield path.stem


def _described(model: str, key: str, address: str) -> dict[str, Any] | None:
    """Return the default version of a model, as TorchServe describes it; empty for an unknown model.

    Returns None when the key is refused, because it has expired; gateway and delivery renew it.
    """
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    try:
        connection.request("GET", f"/models/{model}", headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        found = json.load(answer)
    finally:
        connection.close()
    if answer.status == REFUSED:
        return None
    return found[0] if answer.status == 200 else {}


def main(folder: Path) -> int:
    """Query the Management API that this container's environment names; print missing versions to standard error."""
    address = urllib.parse.urlsplit(os.environ["TS_MANAGEMENT_ADDRESS"]).netloc
    try:
        key = json.loads(Path("key_file.json").read_text())["management"]["key"]
        missing = list(lacking(folder, key, address))
    except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException) as error:
        sys.stderr.write(f"not ready: {type(error).__name__}\n")
        return 1
    if missing:
        sys.stderr.write(f"not ready: {', '.join(missing)}\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
