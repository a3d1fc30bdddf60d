"""Ray Serve: an HTTP proxy and replicas, each an actor in a process of its own."""

import os
import signal
from pathlib import Path
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from bench.peers.pipeline import Pipeline


class Classify:
    """A deployment that takes raw pictures and returns labels, with Ray Serve's own batching."""

    def __init__(self, model: str) -> None:
        self.pipeline = Pipeline(Path(model))

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.005)
    async def classify(self, pictures: list[bytes]) -> list[dict[str, Any]]:
        """Classify one batch."""
        return self.pipeline.answer(pictures)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer one request."""
        answer: dict[str, Any] = await self.classify(await request.body())
        return answer


deployment = serve.deployment(num_replicas=int(os.environ["WORKERS"]), ray_actor_options={"num_cpus": 0.5})(Classify)

if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False, _temp_dir=os.environ["RAY_FOLDER"])
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    serve.run(deployment.bind(os.environ["MODEL"]), route_prefix="/")
    signal.pause()
