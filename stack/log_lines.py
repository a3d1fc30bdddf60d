"""JSON log lines as a person reads them; the files keep the JSON.

12:03:04.567 WARNING gateway      sent_again model=digits request_id=order-66
"""

import json
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

# Told in front of the others, or of no interest to a person.
_TOLD = {"time", "level", "logger", "event", "msg", "exception"}


def follow(files: Sequence[Path]) -> Iterator[str]:
    """The last lines of these logs, and what is added to them for as long as somebody reads on."""
    command = ["tail", "-n", "20", "-F", *map(str, files)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as tail:
        assert tail.stdout is not None
        try:
            yield from readable(tail.stdout, _part(files[0]))
        finally:
            tail.terminate()


def readable(lines: Iterable[str], part: str) -> Iterator[str]:
    """Reword what `tail` prints of several files; `part` is whose file it begins with."""
    for line in lines:
        text = line.rstrip("\n")
        if text.startswith("==> ") and text.endswith(" <=="):
            part = _part(Path(text[4:-4]))
        elif text:
            yield worded(text, part)


def worded(text: str, part: str) -> str:
    """One line; what is no JSON object stays as it is."""
    line = parsed(text)
    if line is None:
        return f"{'':12} {'':7} {part:<12} {text}"
    fields = " ".join(f"{key}={_value(value)}" for key, value in line.items() if key not in _TOLD and value is not None)
    first = f"{_clock(line.get('time')):12} {str(line.get('level', '')).upper():7} {part:<12} {event_of(line)} {fields}"
    return "\n".join([first.rstrip(), *(f"    {each}" for each in str(line.get("exception", "")).splitlines())])


def parsed(text: str) -> dict[str, Any] | None:
    """The JSON object of a line; None where it is none."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def event_of(line: dict[str, Any]) -> str:
    """What a line says happened; rclone calls it `msg`."""
    return str(line.get("event") or line.get("msg") or "")


def _part(file: Path) -> str:
    """Whose log a file is: `logs/gateway.log`, but `filebrowser/access.log`."""
    return file.parent.name if file.name == "access.log" else file.stem


def _clock(time: object) -> str:
    """The time of day on this machine."""
    try:
        return datetime.fromisoformat(str(time)).astimezone().strftime("%H:%M:%S.%f")[:12]
    except ValueError:
        return ""


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return json.dumps(text) if " " in text else text
