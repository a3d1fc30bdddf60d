"""What a worker writes: one JSON object a line, and none for a request that went well.

Its standard output is read by TorchServe's frontend, which takes `[METRICS]` lines for itself and writes all others
into its own log.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

METRICS = "[METRICS]"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON; its fields are what was logged with `extra={"fields": {...}}`."""

    def __init__(self, model: str | None = None, version: str | None = None) -> None:
        """Every line names the model, where it is one's."""
        super().__init__()
        self._about = {} if model is None else {"model": model, "version": version}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end; metrics stay as the frontend reads them."""
        event = record.getMessage()
        if event.startswith(METRICS):
            return event
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event,
            **self._about,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def structure(model: str, version: str) -> None:
    """Have all that TorchServe's worker writes to its output written as JSON, warnings of libraries included."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.setFormatter(JsonFormatter(model, version))
            logging.captureWarnings(True)


def quieten() -> None:
    """Leave warnings and metrics: TorchServe notes every request at INFO, and its frontend would have to read that."""
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("ts.metrics").setLevel(logging.INFO)


def about(headers: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Return the `extra` of a line about one request: its id, and its trace where the client sent one."""
    named = {name.lower(): value for name, value in headers.items()}
    told: dict[str, Any] = {"request_id": named.get("x-request-id")}
    if found := _TRACEPARENT.fullmatch(str(named.get("traceparent", ""))):
        told["trace_id"] = found[1]
    return {"fields": told | fields}
