"""Structured logs: one JSON object a line, the request id in it, never a body or a key."""

import asyncio
import contextvars
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

_log = logging.getLogger(__name__)

current_request_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)
"""Id of the request that the running task answers; every line logged meanwhile carries it."""

current_trace_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("trace_id", default=None)
"""Its trace, where requests are traced."""


def event(
    logger: logging.Logger, level: int, name: str, *, exc_info: BaseException | None = None, **fields: Any
) -> None:
    """Logs one event: its name and its fields, which must be JSON's types."""
    if logger.isEnabledFor(level):
        logger.log(level, name, exc_info=exc_info, extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        if (request_id := current_request_id.get()) is not None:
            line["request_id"] = request_id
        if (trace_id := current_trace_id.get()) is not None:
            line["trace_id"] = trace_id
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def ended(task: asyncio.Future[Any]) -> None:
    """Log what ended a task that nobody waits for; made a task's done callback, it is the one that reads its result."""
    if not task.cancelled() and (error := task.exception()) is not None:
        event(_log, logging.ERROR, "task_failed", exc_info=error)


def configure(level: int = logging.INFO) -> None:
    """Sends every log line of this process to stderr as JSON, uvicorn's own included."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"
    # This parser quotes single characters of the body in its warnings.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
