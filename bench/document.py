"""Tables go into docs/performance.md between markers, written by the command that measured them and by nobody else.

<!-- bench:NAME -->
(whatever the command `NAME` printed last)
<!-- /bench:NAME -->
"""

import re
from pathlib import Path

from files import write_atomic


def replaced(document: str, name: str, text: str) -> str:
    """The document with the section's content changed; raises SystemExit where it has no such section, or two."""
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    pattern = re.compile(rf"^{re.escape(begin)}$.*?^{re.escape(end)}$", re.DOTALL | re.MULTILINE)
    if len(pattern.findall(document)) != 1:
        raise SystemExit(f"the document must hold one section {begin} ... {end}, each on a line of its own")
    return pattern.sub(lambda _: f"{begin}\n{text.strip()}\n{end}", document)


def check(path: Path | None, name: str) -> None:
    """Fail before anything is measured when the result could not be written."""
    if path is None:
        return
    try:
        replaced(path.read_text(), name, "")
    except OSError as error:
        raise SystemExit(f"{path}: {error.strerror}") from None


def write(path: Path | None, name: str, text: str) -> None:
    """Replace the section of the file, whole or not at all."""
    if path is None:
        return
    changed = replaced(path.read_text(), name, text)
    write_atomic(path, changed)
