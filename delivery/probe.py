"""A request that a version of an archive answers; which answer does not matter."""

import base64

from archive import Archive
from engines.engine_profile import PredictionInput


def request_of(archive: Archive) -> PredictionInput:
    """The first golden input: cheap, and not refused."""
    sample = archive.golden["samples"][0]
    return PredictionInput(base64.b64decode(sample["body"]), sample["content_type"])
