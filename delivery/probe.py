"""A request that a version of an archive answers; which answer does not matter."""

import base64

from archive import Archive
from engines.described import Request


def request_of(archive: Archive) -> Request:
    """The first golden input: cheap, and not refused."""
    sample = archive.golden["samples"][0]
    return Request(base64.b64decode(sample["body"]), sample["content_type"])
