"""The log of what runs beside the others for ever: one JSON object a line. Who types a command reads plain text."""

import json
import logging
import sys
from datetime import UTC, datetime


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON, with the names that the other parts of the stack use."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(*, lasting: bool) -> None:
    """Log to stderr: as JSON where a program runs for ever and nobody watches, else as plain text."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    if lasting and not sys.stderr.isatty():
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonFormatter())
