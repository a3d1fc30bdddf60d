"""mosec: its workers are processes that are handed whole batches."""

import os
from pathlib import Path
from typing import Any

from mosec import Server, Worker

from bench.peers.pipeline import Pipeline


class Classify(Worker):
    """Raw pictures in, labels out; mosec's JSON goes out by itself."""

    def __init__(self) -> None:
        self.pipeline = Pipeline(Path(os.environ["MODEL"]))

    def deserialize(self, data: bytes) -> bytes:
        """Leave decoding to the batch."""
        return data

    def forward(self, data: list[bytes]) -> list[dict[str, Any]]:
        """One batch."""
        return self.pipeline.answer(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Classify, num=int(os.environ["WORKERS"]), max_batch_size=8, max_wait_time=5)
    server.run()
