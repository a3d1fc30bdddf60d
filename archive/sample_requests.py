"""Whole request bodies from a folder, as `make adopt` records them and the load test sends them.

cat.jpg                the body; its content type is that of the suffix
cat.jpg.type           the value of the Content-Type header, in place of the suffix's
cat.jpg.headers        further headers, `Name: value` on each line
"""

import mimetypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from errors import ConfigError

TYPE, HEADERS = ".type", ".headers"
OCTETS = "application/octet-stream"
# Types that differ between machines, or that the standard library does not know.
TYPES = {
    ".avif": "image/avif",
    ".csv": "text/csv",
    ".flac": "audio/flac",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".npy": OCTETS,
    ".txt": "text/plain",
    ".wav": "audio/wav",
    ".webp": "image/webp",
}


@dataclass(frozen=True)
class SampleFile:
    """One request: the name of its file, its content type, its body, and further headers."""

    name: str
    content_type: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


def read_samples(path: Path) -> tuple[SampleFile, ...]:
    """Read one sample, or every sample of a folder, in the order of their names.

    Raises ConfigError in one line when there is none, or one is empty or cannot be read.
    """
    try:
        found = tuple(_sample(file) for file in _bodies(path))
    except OSError as error:
        raise ConfigError(f"{error.filename or path}: {error.strerror}") from None
    if not found:
        raise ConfigError(f"{path} holds no sample; put whole request bodies there: pictures, JSON, text, ...")
    return found


def _bodies(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for file in sorted(path.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if file.is_file() and not hidden and not _describes_another(file):
            yield file


def _describes_another(file: Path) -> bool:
    return file.suffix in (TYPE, HEADERS) and file.with_suffix("").is_file()


def _sample(file: Path) -> SampleFile:
    body = file.read_bytes()
    if not body:
        raise ConfigError(f"{file} is empty; a sample is a whole request body")
    return SampleFile(file.name, _content_type(file), body, _headers(file))


def _content_type(file: Path) -> str:
    beside = file.with_name(file.name + TYPE)
    if beside.is_file():
        return _line(beside, _text(beside).strip())
    suffix = file.suffix.lower()
    return TYPES.get(suffix) or mimetypes.guess_type(f"name{suffix}")[0] or OCTETS


def _headers(file: Path) -> dict[str, str]:
    beside = file.with_name(file.name + HEADERS)
    if not beside.is_file():
        return {}
    found = {}
    for line in _text(beside).splitlines():
        name, colon, value = line.partition(":")
        if line.strip() and not (colon and name.strip()):
            raise ConfigError(f"{beside}: {line[:80]!r} is not a header like `Name: value`")
        if line.strip():
            found[name.strip().lower()] = _line(beside, value.strip())
    return found


def _line(file: Path, value: str) -> str:
    if not value or not value.isprintable() or not value.isascii():
        raise ConfigError(f"{file}: a header's value is one line of printable ASCII, not {value[:80]!r}")
    return value


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not text") from None
