"""Logs of the programs: one JSON object a line, with the request id in it and never a body or a key.

configure           a server logs JSON to standard error
configure_command   a command logs plain text; one that runs unattended logs JSON
event               log one event with its fields
"""

import contextvars
import logging
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from handlers.json_log import JsonFormatter

if TYPE_CHECKING:
    import asyncio

_log = logging.getLogger(__name__)

current_request_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)
"""Id of the request that the current task answers; every line that it logs carries this id."""

current_trace_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("trace_id", default=None)
"""Trace id of that request, when it is traced."""


def event(
    logger: logging.Logger, level: int, name: str, *, exc_info: BaseException | None = None, **fields: Any
) -> None:
    """Log one event: its name, and fields of JSON types."""
    if logger.isEnabledFor(level):
        logger.log(level, name, exc_info=exc_info, extra={"fields": fields})


def log_task_error(task: "asyncio.Future[Any]") -> None:
    """Log the error of a task that nothing awaits; add this as the task's done callback."""
    if not task.cancelled() and (error := task.exception()) is not None:
        event(_log, logging.ERROR, "task_failed", exc_info=error)


def configure(level: int = logging.INFO, *, stream: TextIO | None = None, quiet: Iterable[str] = ()) -> None:
    """Send every log line of this process to `stream` (standard error) as JSON, uvicorn's lines included.

    Of the loggers named in `quiet`, only warnings are kept.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(request_context))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", *quiet):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"
    for name in quiet:
        logging.getLogger(name).setLevel(logging.WARNING)
    # This parser quotes single characters of a body in its warnings.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


def configure_command(*, unattended: bool = False, level: int = logging.INFO, verbose: Iterable[str] = ()) -> None:
    """Log to standard error: plain text, or JSON where a program runs for ever and no terminal shows it.

    The loggers named in `verbose` log at INFO even where `level` is higher.
    """
    logging.basicConfig(format="%(message)s")
    # Set separately, because basicConfig does nothing when a program configures its log a second time.
    logging.getLogger().setLevel(level)
    for name in verbose:
        logging.getLogger(name).setLevel(logging.INFO)
    # At every import, TorchServe's handlers log which accelerators they did not find.
    logging.getLogger("ts").setLevel(logging.ERROR)
    if unattended and not sys.stderr.isatty():
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonFormatter(request_context))


def request_context() -> Mapping[str, str]:
    """Return the ids of the request that the current task answers, where there is one."""
    found = {"request_id": current_request_id.get(), "trace_id": current_trace_id.get()}
    return {name: value for name, value in found.items() if value is not None}
