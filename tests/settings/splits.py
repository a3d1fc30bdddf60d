"""Splits of traffic, as a test needs them."""

import time

from deployments.traffic import TrafficSplit


def given_split(trial: str = "1.1", **changes: object) -> TrafficSplit:
    """Version 1.0 answers, `trial` a tenth of the requests for ten minutes; `changes` are fields of the split."""
    split = TrafficSplit(
        stable="1.0",
        trial=trial,
        weight=0.1,
        sticky_header=None,
        copies=0,
        max_copies=8,
        copy_timeout_s=10,
        tolerance=0.001,
        until=time.time() + 600,
    )
    return split.model_copy(update=changes)
