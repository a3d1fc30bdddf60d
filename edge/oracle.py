"""The handler of an unpacked archive, asked as the generated program is: the reference of the parity gate.

A program of its own, run in the folder of an unpacked archive, because `handlers` must be the archive's and not this
project's. In and out are those of native/harness.c, without the form.
"""

import json
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # they are imported out of the archive's folder
    from handlers.policy_handler import PolicyHandler


def load(folder: Path) -> "PolicyHandler":
    """The handler with its network, its golden answers met."""
    from handlers.policy_handler import PolicyHandler

    manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())
    handler = PolicyHandler()
    handler.initialize(SimpleNamespace(manifest=manifest, system_properties={"model_dir": str(folder)}))
    return handler


def answer(handler: "PolicyHandler", body: bytes) -> tuple[int, bytes]:
    """Status and answer of one request, worded by the handler."""
    from handlers import answers
    from handlers.errors import RequestError

    try:
        outputs = handler.forward(handler.read(json.loads(body), "application/json"))
        return 200, answers.encode(
            handler.card, handler.version, "predictions", answers.predictions(outputs, handler.card)
        )
    except RequestError as error:
        return error.status, answers.encode_error(error)


def main() -> None:
    """Answer until standard input ends."""
    sys.path.insert(0, str(Path.cwd()))
    handler = load(Path.cwd())
    while head := sys.stdin.buffer.read(8):
        _, size = struct.unpack("II", head)
        status, body = answer(handler, sys.stdin.buffer.read(size))
        sys.stdout.buffer.write(struct.pack("II", status, len(body)) + body)


if __name__ == "__main__":
    main()
