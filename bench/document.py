"""The sections of `docs/` that benchmarks write, each between two markers, and the heading of a section.

<!-- bench:NAME -->
(the last output of the command)
<!-- /bench:NAME -->
"""

import importlib.metadata
import re
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from files import write_atomic
from loadtest.resources import HostInfo

PACKAGES = ("torch", "torchvision", "onnxruntime", "torchserve", "simplejpeg", "pillow", "fastapi", "uvicorn")


def replaced(document: str, name: str, text: str) -> str:
    """Return the document with a new text in a section. Raises SystemExit unless it has exactly one such section."""
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    pattern = re.compile(rf"^{re.escape(begin)}$.*?^{re.escape(end)}$", re.DOTALL | re.MULTILINE)
    if len(pattern.findall(document)) != 1:
        raise SystemExit(f"the document must hold one section {begin} ... {end}, each on a line of its own")
    return pattern.sub(lambda _: f"{begin}\n{text.strip()}\n{end}", document)


def check(path: Path, *names: str) -> None:
    """Raise SystemExit if the file cannot be read or lacks one of the sections."""
    try:
        text = path.read_text()
    except OSError as error:
        raise SystemExit(f"{path}: {error.strerror}") from None
    for name in names:
        replaced(text, name, "")


def publish(path: Path | None, name: str, text: str) -> None:
    """Print the text and, when a file is given, replace its section atomically."""
    print(text)
    if path is not None:
        write_atomic(path, replaced(path.read_text(), name, text))


def heading(module: str, arguments: Sequence[str], measured: str) -> str:
    """Return the paragraphs above a table: date, machine, versions, the command, and what it measured."""
    versions = ", ".join(f"{name} {version}" for name in PACKAGES if (version := _version(name)))
    host = HostInfo.this()
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC · {host.cpu}, {host.cores} cores, {host.memory / 1e9:.0f} GB · "
        f"{host.system}, Python {host.python} · {versions}\n\n"
        f"`{shlex.join(['python', '-m', module, *arguments])}`: {measured}"
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
