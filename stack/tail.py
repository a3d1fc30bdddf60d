"""The logs of all services for people; the files keep JSON.

12:03:04.567 WARNING gateway      sent_again model=digits request_id=order-66
"""

import json
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

# Shown before the other fields, or not useful to people.
_SHOWN_FIRST = {"time", "level", "logger", "event", "msg", "exception"}


def follow(files: Sequence[Path]) -> Iterator[str]:
    """Yield the last lines of these logs, and then each new line."""
    command = ["tail", "-n", "20", "-F", *map(str, files)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as tail:
        assert tail.stdout is not None
        try:
            yield from readable(tail.stdout, _service_of(files[0]))
        finally:
            tail.terminate()


def readable(lines: Iterable[str], service: str) -> Iterator[str]:
    """Format the output of `tail` for several files; `service` is that of the first file."""
    for line in lines:
        text = line.rstrip("\n")
        if text.startswith("==> ") and text.endswith(" <=="):
            service = _service_of(Path(text[4:-4]))
        elif text:
            yield format_line(text, service)


def format_line(text: str, service: str) -> str:
    """Format one line; a line that is not a JSON object stays unchanged."""
    line = parsed(text)
    if line is None:
        return f"{'':12} {'':7} {service:<12} {text}"
    fields = " ".join(
        f"{key}={_value(value)}" for key, value in line.items() if key not in _SHOWN_FIRST and value is not None
    )
    first = (
        f"{_clock(line.get('time')):12} {str(line.get('level', '')).upper():7} {service:<12} {event_of(line)} {fields}"
    )
    return "\n".join([first.rstrip(), *(f"    {each}" for each in str(line.get("exception", "")).splitlines())])


def parsed(text: str) -> dict[str, Any] | None:
    """Return the JSON object of a line; None for other lines."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def event_of(line: dict[str, Any]) -> str:
    """Return the event of a line; rclone calls it `msg`."""
    return str(line.get("event") or line.get("msg") or "")


def _service_of(file: Path) -> str:
    """Return the service of a log file: of `logs/gateway.log`, and of `filebrowser/access.log`."""
    return file.parent.name if file.name == "access.log" else file.stem


def _clock(time: object) -> str:
    """Return the time of day on this machine."""
    try:
        return datetime.fromisoformat(str(time)).astimezone().strftime("%H:%M:%S.%f")[:12]
    except ValueError:
        return ""


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return json.dumps(text) if " " in text else text
