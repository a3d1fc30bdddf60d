"""Requests to an adopted archive: the samples that it was adopted with, or those of another folder.

Only its own handler knows what a right answer is, so a response counts when it has the status that was recorded.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archive import open_archive
from archive.sample_requests import read_samples
from errors import LoadError
from loadtest.inputs import RequestSample

SUCCESS = 200


def recorded_requests(archives: Path | None, model: str, most: int) -> tuple[RequestSample, ...]:
    """Return at most `most` samples of `archives/MODEL.mar`.

    Raises LoadError without a folder of archives, ArchiveError when the archive is missing or broken.
    """
    if archives is None:
        raise LoadError(f"the archive of {model} is not on this machine; give a folder of samples as stress.inputs")
    samples = open_archive(archives / f"{model}.mar").golden["samples"]
    return tuple(_recorded(number, sample) for number, sample in enumerate(samples[:most]))


def folder_requests(path: Path, most: int) -> tuple[RequestSample, ...]:
    """Return at most `most` whole requests of a folder. Raises ConfigError when there is none."""
    return tuple(
        RequestSample(each.name, each.content_type, each.body, headers=each.headers, status=SUCCESS)
        for each in read_samples(path)[:most]
    )


def _recorded(number: int, sample: Mapping[str, Any]) -> RequestSample:
    status = int(sample["predictions"][0]["answer"]["status"])
    body, headers = base64.b64decode(sample["body"]), sample.get("headers", {})
    return RequestSample(f"sample-{number}", sample["content_type"], body, headers=headers, status=status)
