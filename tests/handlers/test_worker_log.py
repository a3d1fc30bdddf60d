"""A loaded worker writes no line a request, and its metrics still reach the frontend."""

import logging

from handlers import worker_log


def test_requests_are_silent_and_metrics_and_warnings_are_not() -> None:
    logging.getLogger().setLevel(logging.INFO)
    worker_log.quieten()
    assert not logging.getLogger().isEnabledFor(logging.INFO)
    assert not logging.getLogger("ts.service").isEnabledFor(logging.INFO)
    assert logging.getLogger("handlers.model_handler").isEnabledFor(logging.WARNING)
    assert logging.getLogger("ts.metrics.caching_metric").isEnabledFor(logging.INFO)
