"""A loaded worker writes no line a request, JSON when something fails, and its metrics still reach the frontend."""

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator

import pytest

from handlers import json_log
from handlers.json_log import JsonFormatter


def test_worker_logs_metrics_and_warnings_only() -> None:
    logging.getLogger().setLevel(logging.INFO)
    json_log.log_warnings_only()
    assert not logging.getLogger().isEnabledFor(logging.INFO)
    assert not logging.getLogger("ts.service").isEnabledFor(logging.INFO)
    assert logging.getLogger("handlers.model_handler").isEnabledFor(logging.WARNING)
    assert logging.getLogger("ts.metrics.caching_metric").isEnabledFor(logging.INFO)


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The standard output of a worker, set up as TorchServe does it."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stdout", written)
    root = logging.getLogger()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(message)s"))
    root.addHandler(handler)
    json_log.configure_worker("digits", "1.2")
    yield written
    root.removeHandler(handler)
    logging.captureWarnings(False)


def test_log_line_is_json_with_model_and_request(output: io.StringIO) -> None:
    headers = {"X-Request-ID": "order-66", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "body": {"content-type": "x"}}
    try:
        raise ValueError('two\nlines and a "quote"')
    except ValueError:
        logging.getLogger("handlers").exception("request_broke", extra=json_log.request_extra(headers, code="internal"))
    [line] = output.getvalue().splitlines()
    told = json.loads(line)
    assert told.pop("time").startswith("20")
    assert told.pop("exception").endswith('two\nlines and a "quote"')
    assert told == {
        "level": "error",
        "logger": "handlers",
        "event": "request_broke",
        "model": "digits",
        "version": "1.2",
        "request_id": "order-66",
        "trace_id": "a" * 32,
        "code": "internal",
    }


def test_metrics_stay_as_the_frontend_reads_them(output: io.StringIO) -> None:
    logging.getLogger("ts.metrics").warning("[METRICS]PredictionTime.ms:1|#Level:Model|#hostname:h,1,2")
    assert output.getvalue() == "[METRICS]PredictionTime.ms:1|#Level:Model|#hostname:h,1,2\n"


def test_a_warning_of_a_library_is_a_line_like_the_others(output: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)  # catch_warnings has put away what was captured before
        logging.captureWarnings(True)
        warnings.warn("old\nlibrary", stacklevel=1)
    assert json.loads(output.getvalue())["logger"] == "py.warnings"


GOOD = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.mark.parametrize("traceparent", ["", "00-xyz", GOOD.replace("aa", "a"), f"{GOOD}\n"])
def test_a_trace_that_cannot_be_read_is_none(traceparent: str) -> None:
    assert json_log.request_extra({"traceparent": traceparent}) == {"fields": {"request_id": None}}


def test_outside_of_a_worker_nothing_is_reformatted() -> None:
    formatters = [handler.formatter for handler in logging.getLogger().handlers]
    json_log.configure_worker("digits", "1.2")
    assert [handler.formatter for handler in logging.getLogger().handlers] == formatters
    assert not any(isinstance(formatter, JsonFormatter) for formatter in formatters)
