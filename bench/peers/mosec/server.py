"""mosec: workers are processes that get whole batches."""

import os
from pathlib import Path
from typing import Any

from mosec import Server, Worker

from bench.peers.pipeline import Pipeline


class Classify(Worker):
    """A worker that takes raw pictures and returns labels, which mosec encodes as JSON."""

    def __init__(self) -> None:
        self.pipeline = Pipeline(Path(os.environ["MODEL"]))

    def deserialize(self, data: bytes) -> bytes:
        """Return the bytes; `forward` decodes them."""
        return data

    def forward(self, data: list[bytes]) -> list[dict[str, Any]]:
        """Classify one batch."""
        return self.pipeline.answer(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Classify, num=int(os.environ["WORKERS"]), max_batch_size=8, max_wait_time=5)
    server.run()
