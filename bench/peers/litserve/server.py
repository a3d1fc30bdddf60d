"""LitServe: FastAPI in front, inference processes behind it."""

import base64
import os
from pathlib import Path
from typing import Any

import litserve
from numpy.typing import NDArray

from bench.peers.pipeline import Pipeline


class Classify(litserve.LitAPI):
    """base64 in JSON, which is how LitServe's clients send pictures."""

    def setup(self, device: str) -> None:
        """Load the model, once in each inference process."""
        self.pipeline = Pipeline(Path(os.environ["MODEL"]))

    def decode_request(self, request: dict[str, str]) -> NDArray[Any]:
        """Decode one picture."""
        return self.pipeline.read(base64.b64decode(request["image"]))

    def batch(self, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Leave the concatenation to the pipeline."""
        return inputs

    def predict(self, x: list[NDArray[Any]]) -> list[dict[str, Any]]:
        """Classify one batch."""
        return self.pipeline.predict(x)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the answers unchanged; they are single already."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Return the answer, which LitServe encodes as JSON."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(
        Classify(max_batch_size=8, batch_timeout=0.005),
        accelerator="cpu",
        workers_per_device=int(os.environ["WORKERS"]),
    )
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), log_level="error", generate_client_file=False)
