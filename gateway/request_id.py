"""X-Request-Id: taken from the client when it is safe to repeat, made here otherwise."""

import re
import secrets

HEADER = b"x-request-id"

# Printable ASCII only, so that an id can stand in a header and in a log line as it is.
_SAFE = re.compile(r"[\x20-\x7e]{1,128}")


def accepted(offered: str | None) -> str:
    """The client's id when it is printable ASCII of at most 128 characters, else a new one of 32 hex digits."""
    if offered is not None and _SAFE.fullmatch(offered):
        return offered
    return secrets.token_hex(16)
