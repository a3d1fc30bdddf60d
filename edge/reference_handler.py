"""Runs the handler of an unpacked archive, as the reference that a generated program is compared with.

This is a separate program. It runs in the folder of an unpacked archive, because it must import the archive's
`handlers` and not this project's. Input and output are the frames of native/harness.c; it ignores their form.
"""

import json
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported from the archive's folder
    from handlers.policy_handler import PolicyHandler


def _ignore(*arguments: Any, **named: Any) -> None:
    pass


def load(folder: Path) -> "PolicyHandler":
    """Load the handler with its network; it checks its golden answers."""
    from handlers.policy_handler import PolicyHandler

    manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())
    handler = PolicyHandler()
    handler.initialize(SimpleNamespace(manifest=manifest, system_properties={"model_dir": str(folder)}))
    return handler


class OneRequest:
    """The context that TorchServe hands to a handler, for a batch of one request.

    The archive may be of an earlier release, so it is called as TorchServe calls it and not by its inner modules.
    """

    model_name = ""

    def __init__(self) -> None:
        self.status = 200
        self.metrics = SimpleNamespace(add_time=_ignore, add_metric=_ignore)

    def get_request_header(self, index: int, name: str) -> None:
        """Return an empty header, because requests have none."""

    def get_all_request_header(self, index: int) -> dict[str, Any]:
        """Return no headers, because requests have none."""
        return {}

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        """Keep the status of an error."""
        self.status = code

    set_response_header = set_response_content_type = _ignore


def answer(handler: "PolicyHandler", body: bytes) -> tuple[int, bytes]:
    """Return status and body of the response to one request, whose JSON TorchServe would have parsed."""
    request = OneRequest()
    [response] = handler.handle([{"body": json.loads(body)}], request)
    return request.status, response


def main() -> None:
    """Answer requests until standard input ends."""
    sys.path.insert(0, str(Path.cwd()))
    handler = load(Path.cwd())
    while head := sys.stdin.buffer.read(8):
        _, size = struct.unpack("II", head)
        status, body = answer(handler, sys.stdin.buffer.read(size))
        sys.stdout.buffer.write(struct.pack("II", status, len(body)) + body)


if __name__ == "__main__":
    main()
