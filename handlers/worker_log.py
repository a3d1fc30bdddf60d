"""What a worker writes: TorchServe notes every request at INFO, a line that the frontend must read and throw away."""

import logging


def quieten() -> None:
    """Leave warnings and metrics; TorchServe's frontend reads a worker's metrics from its log."""
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("ts.metrics").setLevel(logging.INFO)
