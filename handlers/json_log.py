"""Logs as one JSON object a line: the formatter of every program, and the set-up of a worker.

TorchServe's frontend reads a worker's standard output. It processes lines that start with `[METRICS]` and copies all
others to its own log. A worker logs nothing for a request that succeeds.
"""

import json
import logging
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

METRICS = "[METRICS]"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON; `logging`'s `extra={"fields": {...}}` adds fields to it."""

    def __init__(self, context: Callable[[], Mapping[str, Any]] = dict) -> None:
        """`context` returns the fields that every line carries."""
        super().__init__()
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its newline; a metric keeps the form that the frontend parses."""
        event = record.getMessage()
        if event.startswith(METRICS):
            return event
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event,
            **self._context(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line)


def _encode(line: dict[str, Any]) -> str:
    try:
        return json.dumps(line, default=str, allow_nan=False)
    except ValueError:  # JSON has neither NaN nor infinity
        return json.dumps(json.loads(json.dumps(line, default=str), parse_constant=lambda _: None))


def model_context(model: str | None, version: str | None) -> Callable[[], Mapping[str, Any]]:
    """Return a context that names a model; an empty one where the process belongs to no single model."""
    fields = {} if model is None else {"model": model, "version": version}
    return lambda: fields


def configure_worker(model: str, version: str) -> None:
    """Format TorchServe's handlers on standard output as JSON, and log the warnings of libraries too."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.setFormatter(JsonFormatter(model_context(model, version)))
            logging.captureWarnings(True)


def log_warnings_only() -> None:
    """Raise the level to warnings, except for metrics.

    TorchServe logs each request at INFO, and its frontend would have to read that.
    """
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("ts.metrics").setLevel(logging.INFO)


def request_extra(headers: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Return the `extra` of a line about one request: its id, and its trace where the client sent one."""
    named = {name.lower(): value for name, value in headers.items()}
    request: dict[str, Any] = {"request_id": named.get("x-request-id")}
    if found := _TRACEPARENT.fullmatch(str(named.get("traceparent", ""))):
        request["trace_id"] = found[1]
    return {"fields": request | fields}
