"""Samples from the user's own files: a folder of pictures, one picture, or a JSON file of states."""

import json
from pathlib import Path

from errors import ConfigError
from loadtest.sample import Sample

PICTURES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}


def from_path(path: Path, most: int) -> tuple[Sample, ...]:
    """At most `most` samples from a folder or a file, in the order of their names.

    Raises ConfigError in one line when nothing there can be sent.
    """
    try:
        if path.is_dir():
            return _folder(path, most)
        if path.suffix.lower() in PICTURES:
            return (_picture(path),)
        return _json_file(path)[:most]
    except OSError as error:
        raise ConfigError(f"stress.inputs: {path}: {error.strerror}") from None


def _folder(folder: Path, most: int) -> tuple[Sample, ...]:
    pictures = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    if not pictures:
        raise ConfigError(f"stress.inputs: no picture in {folder}; it takes {', '.join(PICTURES)}")
    return tuple(_picture(path) for path in pictures[:most])


def _picture(path: Path) -> Sample:
    return Sample(path.name, PICTURES[path.suffix.lower()], path.read_bytes())


def _json_file(path: Path) -> tuple[Sample, ...]:
    """One sample for each entry of `[...]` or `{"instances": [...]}`; anything else is one request's body."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        raise ConfigError(f"stress.inputs: {path} is neither a picture nor JSON") from None
    if isinstance(content, dict):
        entries = content["instances"] if content.keys() == {"instances"} else [content]
    else:
        entries = content
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"stress.inputs: {path} holds no state")
    if all(isinstance(entry, int | float) for entry in entries):
        entries = [entries]
    return tuple(Sample.of_json(f"{path.name}[{number}]", entry) for number, entry in enumerate(entries))
