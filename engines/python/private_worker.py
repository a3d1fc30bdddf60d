"""`python -m engines.python.private_worker FOLDER MODEL VERSION`: a handler that answers what standard input asks.

Each line of standard input is a request, each of standard output a response: JSON with headers, and the body in base64.
The first line of standard output says that the handler has loaded. What the handler prints goes to standard error.
"""

import base64
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import commands
from engines.python.messages import InferenceRequest, InferenceResponse
from engines.python.registry import Registration
from engines.python.worker import METRICS

USAGE = """\
usage: python -m engines.python.private_worker FOLDER MODEL VERSION

  FOLDER   an unpacked archive; its handler answers the requests of standard input, a line each
"""
BATCH_SIZE, BATCH_DELAY_MS = 1, 0
TIMEOUT_S = 0  # the program that started this one ends a handler that hangs


def main(arguments: Sequence[str]) -> int:
    """Answer requests until standard input ends."""
    if len(arguments) != 3:
        sys.stderr.write(USAGE)
        return 2
    folder, model, version = arguments
    responses = _take_standard_output()
    os.chdir(folder)
    # Imported here: it needs `ts` and its dependencies.
    from engines.python.loaded_handler import LoadedHandler

    registration = Registration(model, version, "", "", BATCH_SIZE, BATCH_DELAY_MS, TIMEOUT_S)
    handler = LoadedHandler(Path(folder), registration, str(METRICS), None)
    _write(responses, {"loaded": model})
    for line in sys.stdin.buffer:
        [response], _ = handler.answer([_request(line)])
        _write(responses, _document(response))
    return 0


def _take_standard_output() -> BinaryIO:
    """Return the stream of the responses; from now on everything else goes to standard error."""
    responses = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return responses


def _request(line: bytes) -> InferenceRequest:
    given = json.loads(line)
    headers = tuple((str(name), str(value)) for name, value in given["headers"].items())
    return InferenceRequest("adoption", headers, "", base64.b64decode(given["body"]))


def _document(response: InferenceResponse) -> dict[str, object]:
    body = base64.b64encode(response.body).decode("ascii")
    return {"status": response.status, "headers": dict(response.headers), "body": body}


def _write(responses: BinaryIO, document: dict[str, object]) -> None:
    responses.write(json.dumps(document).encode() + b"\n")
    responses.flush()


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
